"""`cofactor models` against a server's admin port."""

from __future__ import annotations

import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest

from cofactor_client.__main__ import main
from cofactor_server.admin.server import AdminServer
from cofactor_server.config import ServerConfig
from cofactor_server.security.tokens import Authentication, StaticTokens
from cofactor_server.server import create_server


@pytest.fixture
def operated(dot_version, tmp_path):
    """A server with one version, and the address of its admin port."""
    models = tmp_path / "models"
    shutil.copytree(dot_version, models / "dot" / "1")
    config = ServerConfig(models=str(models), port=0, provider="cpu", drain_delay_s=0, poll_interval_s=0)
    with create_server(config) as server:
        server.admin = AdminServer(server._live, None, 0)
        yield SimpleNamespace(models=models, live=server._live, address=f"127.0.0.1:{server.admin.port}")


def test_versions_are_listed_and_labels_move(operated, capsys) -> None:
    assert main(["models", "ls", "--address", operated.address]) == 0
    table = capsys.readouterr().out
    assert "dot" in table
    assert "ready" in table
    assert "current" in table
    (operated.models / "dot" / "2").mkdir()
    (operated.models / "dot" / "2" / "manifest.json").write_text("{}")
    assert main(["models", "promote", "dot", "1", "--address", operated.address, "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["models"][0]
    states = {version["version"]: version for version in model["versions"]}
    assert states["1"]["labels"] == ["stable"]
    assert states["2"]["state"] == "STATE_REFUSED"
    assert "manifest.sha256" in states["2"]["state_message"]


def test_what_was_just_written_survives_a_promotion_and_shares_are_shown(operated, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shares = {"canary_percent": {"next": 5}, "shadow_percent": {"next": 20}}
    (operated.models / "dot" / "serving.json").write_text(json.dumps({"labels": {"next": "1"}, **shares}))
    assert main(["models", "promote", "dot", "1", "--address", operated.address]) == 0
    assert "current, 5 % of users, shadow of 20 % of users" in capsys.readouterr().out
    written = json.loads((operated.models / "dot" / "serving.json").read_text())
    assert written == {"labels": {"next": "1", "stable": "1"}, **shares}


def test_what_the_server_refuses_is_said_and_exits_with_1(operated, capsys) -> None:
    assert main(["models", "rollback", "dot", "--address", operated.address]) == 1
    assert "nothing to roll back" in capsys.readouterr().err
    assert main(["models", "promote", "dot", "9", "--address", operated.address]) == 1
    assert "NOT_FOUND" in capsys.readouterr().err


def test_no_server_is_said_plainly(capsys) -> None:
    assert main(["models", "ls", "--address", "127.0.0.1:1"]) == 1
    assert "no server answers at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("action", [["ls"], ["promote", "dot", "1"], ["rollback", "dot"]])
def test_a_token_is_not_sent_in_plain_text_to_another_machine(action, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COFACTOR_TOKEN", "secret")
    assert main(["models", *action, "--address", "admin.example:50052"]) == 2
    refused = capsys.readouterr().err
    assert "token: would travel in plain text" in refused
    assert "secret" not in refused
    assert refused.count("\n") == 1


def test_a_token_is_sent_on_this_machine(operated, tmp_path, monkeypatch, capsys) -> None:
    tokens = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"secret").hexdigest()
    tokens.write_text(f'[clients.operator]\nsha256 = "{digest}"\nmethods = ["cofactor.admin.v1.AdminService/*"]\n')
    gated = AdminServer(operated.live, Authentication([StaticTokens(tokens)]), 0)
    try:
        words = ["models", "ls", "--address", f"127.0.0.1:{gated.port}"]
        assert main(words) == 1
        assert "UNAUTHENTICATED" in capsys.readouterr().err
        monkeypatch.setenv("COFACTOR_TOKEN", "secret")
        monkeypatch.setenv("COFACTOR_TLS_CA", "system")  # what the server's own port may want; an admin port never
        assert main(words) == 0
        assert "ready" in capsys.readouterr().out
    finally:
        gated.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--address", ""], 'address: is empty; give "host:port"'),
        (["--cert", "client.pem"], "give both for mutual TLS"),
        (["--ca", "nobody.pem"], "nobody.pem"),
    ],
)
def test_a_wrong_option_is_one_line_and_exits_with_2(words, message, capsys) -> None:
    assert main(["models", "ls", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("cofactor: error: ")
    assert said.count("\n") == 1
