"""`cofactor models` on the admin port of a real server."""

from __future__ import annotations

import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest
from google.protobuf import json_format

from cofactor_client import Client
from cofactor_client.__main__ import main
from cofactor_server.admin.server import AdminServer
from cofactor_server.config import ServerConfig
from cofactor_server.security.authentication import Authenticator
from cofactor_server.security.static_tokens import StaticTokens
from cofactor_server.server import create_server
from tests.support.overlays import Twins


@pytest.fixture
def admin_server(dot_version, tmp_path):
    """A server with one model version, and the address of its admin port."""
    models = tmp_path / "models"
    shutil.copytree(dot_version, models / "dot" / "1")
    config = ServerConfig(models=str(models), port=0, provider="cpu", drain_delay_s=0, poll_interval_s=0)
    with create_server(config) as server:
        server.admin = AdminServer(server._live, None, 0)
        address = f"127.0.0.1:{server.admin.port}"
        yield SimpleNamespace(models=models, live=server._live, address=address, port=server.port)


def test_ls_lists_versions_and_promote_moves_a_label(admin_server, capsys) -> None:
    assert main(["models", "ls", "--address", admin_server.address]) == 0
    table = capsys.readouterr().out
    assert "dot" in table
    assert "ready" in table
    assert "current" in table
    (admin_server.models / "dot" / "2").mkdir()
    (admin_server.models / "dot" / "2" / "manifest.json").write_text("{}")
    assert main(["models", "promote", "dot", "1", "--address", admin_server.address, "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["models"][0]
    states = {version["version"]: version for version in model["versions"]}
    assert states["1"]["labels"] == ["stable"]
    assert states["2"]["state"] == "STATE_REFUSED"
    assert "manifest.sha256" in states["2"]["state_message"]


def test_promote_keeps_the_policy_on_disk_and_shows_traffic_shares(admin_server, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shares = {"canary_percent": {"next": 5}, "shadow_percent": {"next": 20}}
    (admin_server.models / "dot" / "serving.json").write_text(json.dumps({"labels": {"next": "1"}, **shares}))
    assert main(["models", "promote", "dot", "1", "--address", admin_server.address]) == 0
    assert "current, 5 % of users, shadow of 20 % of users" in capsys.readouterr().out
    written = json.loads((admin_server.models / "dot" / "serving.json").read_text())
    assert written == {"labels": {"next": "1", "stable": "1"}, **shares}


def test_an_action_that_the_server_rejects_exits_with_1(admin_server, capsys) -> None:
    assert main(["models", "rollback", "dot", "--address", admin_server.address]) == 1
    assert "nothing to roll back" in capsys.readouterr().err
    assert main(["models", "promote", "dot", "9", "--address", admin_server.address]) == 1
    assert "NOT_FOUND" in capsys.readouterr().err


def test_overlay_adds_items_from_a_file_removes_and_restores(admin_server, tmp_path, capsys) -> None:
    twin = Twins(admin_server.models / "dot" / "1").twin("i010", "new", bias=-100.0)
    file = tmp_path / "items.json"
    file.write_text(json.dumps([json_format.MessageToDict(twin)]))

    def change(*words):
        assert main(["models", "overlay", "dot", *words, "--address", admin_server.address]) == 0
        return capsys.readouterr().out

    assert "dot/1: overlay 1 adds 1 items and removes 1" in change("--add", str(file), "--remove", "i020")
    with Client(f"127.0.0.1:{admin_server.port}") as client:
        page = client.recommend("u003", 10, exploration_share=0.1)
        assert [result.item_id for result in page.results if result.is_exploration] == ["new"]
        assert page.model.overlay_sequence == client.get_model().model.overlay_sequence == 1
        everything = client.recommend("u003", 200, include_rated=True)
        assert {"i020", "new"} & {result.item_id for result in everything.results} == {"new"}
    assert "overlay 2 adds 1 items and removes 0" in change("--restore", "i020")
    assert json.loads(change("--reset", "--json"))["sequence"] == "3"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "nothing to change"),
        ("{", "is not JSON"),
        ("{}", "must be a list"),
        ('[{}, {"item": 3}]', "item 1: "),
        ('[{"embeding": {}}]', "item 0: "),
    ],
)
def test_a_wrong_overlay_file_is_named_with_its_item(admin_server, tmp_path, capsys, content, message) -> None:
    words = []
    if content is not None:
        (tmp_path / "items.json").write_text(content)
        words = ["--add", str(tmp_path / "items.json")]
    assert main(["models", "overlay", "dot", *words, "--address", admin_server.address]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_an_unreachable_server_is_named(capsys) -> None:
    assert main(["models", "ls", "--address", "127.0.0.1:1"]) == 1
    assert "no server is reachable at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "action", [["ls"], ["promote", "dot", "1"], ["rollback", "dot"], ["overlay", "dot", "--reset"]]
)
def test_a_token_is_not_sent_in_plain_text_to_another_machine(action, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COFACTOR_TOKEN", "secret")
    assert main(["models", *action, "--address", "admin.example:50052"]) == 2
    message = capsys.readouterr().err
    assert "token: would be sent in plain text" in message
    assert "secret" not in message
    assert message.count("\n") == 1


def test_a_token_is_sent_to_a_server_on_this_machine(admin_server, tmp_path, monkeypatch, capsys) -> None:
    tokens = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"secret").hexdigest()
    tokens.write_text(f'[clients.operator]\nsha256 = "{digest}"\nmethods = ["cofactor.admin.v1.AdminService/*"]\n')
    guarded = AdminServer(admin_server.live, Authenticator([StaticTokens(tokens)]), 0)
    try:
        words = ["models", "ls", "--address", f"127.0.0.1:{guarded.port}"]
        assert main(words) == 1
        assert "UNAUTHENTICATED" in capsys.readouterr().err
        monkeypatch.setenv("COFACTOR_TOKEN", "secret")
        monkeypatch.setenv("COFACTOR_TLS_CA", "system")  # meant for the port of the API; the admin port has no TLS
        assert main(words) == 0
        assert "ready" in capsys.readouterr().out
    finally:
        guarded.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--address", ""], 'address: is empty; give "host:port"'),
        (["--cert", "client.pem"], "give both for mutual TLS"),
        (["--ca", "nobody.pem"], "nobody.pem"),
    ],
)
def test_a_wrong_option_gives_one_line_and_exits_with_2(words, message, capsys) -> None:
    assert main(["models", "ls", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("cofactor: error: ")
    assert printed.count("\n") == 1
