"""`cofactor models erase-user` and `erasures` on the admin port of a real server."""

from __future__ import annotations

import io
import json
import shutil
import sys
from types import SimpleNamespace

import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main
from cofactor_client.errors import NotFoundError
from cofactor_server.admin.server import AdminServer
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server
from cofactor_trainer.data.erasures.records import Erasures


@pytest.fixture
def served(dot_version, tmp_path):
    """A server that can erase: its repository, its key, and the addresses of both ports."""
    models, key = tmp_path / "models", tmp_path / "erasure.key"
    shutil.copytree(dot_version, models / "dot" / "1")
    key.write_text("0123456789abcdef0123456789abcdef")
    config = ServerConfig(
        models=str(models), port=0, provider="cpu", drain_delay_s=0, poll_interval_s=0, erasure_key_file=str(key)
    )
    with create_server(config) as server:
        server.admin = AdminServer(server._live, None, 0)
        yield SimpleNamespace(
            models=models, key=key, admin=f"127.0.0.1:{server.admin.port}", api=f"127.0.0.1:{server.port}"
        )


def test_a_user_is_erased_by_an_argument_or_from_standard_input(served, capsys, monkeypatch) -> None:
    assert main(["models", "erase-user", "u003", "--address", served.admin]) == 0
    printed = capsys.readouterr()
    assert "dot/1" in printed.out
    assert "u003" not in printed.out + printed.err
    monkeypatch.setattr(sys, "stdin", io.StringIO("u004\n"))
    assert main(["models", "erase-user", "-", "--model", "dot", "--address", served.admin, "--json"]) == 0
    [erasure] = json.loads(capsys.readouterr().out)["erasures"]
    assert erasure["record"]["model_name"] == "dot"
    with Client(served.api) as client:
        for user_id in ("u003", "u004"):
            with pytest.raises(NotFoundError):
                client.recommend(user_id)
        assert len(client.recommend("u005")) == 10


def test_a_user_that_nobody_knows_is_recorded_with_a_note(served, capsys) -> None:
    assert main(["models", "erase-user", "nobody", "--address", served.admin]) == 0
    assert "no loaded version knew this user" in capsys.readouterr().err


def test_the_list_is_printed_and_written_for_the_trainer(served, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("cofactor_client._cli.erasures._PAGE_SIZE", 2)
    for user_id in ("u001", "u002", "nobody"):
        assert main(["models", "erase-user", user_id, "--address", served.admin]) == 0
    capsys.readouterr()
    output = tmp_path / "erasures.jsonl"
    assert main(["models", "erasures", "--output", str(output), "--address", served.admin]) == 0
    printed = capsys.readouterr().out
    assert printed.count("dot/1") == 2
    assert printed.count("no loaded version") == 1
    assert Erasures.read(output, served.key) == Erasures.read(served.models / ".erasures", served.key)
    assert output.read_text().count("\n") == 3


def test_wrong_input_exits_with_its_code(served, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["models", "erase-user", "-", "--address", served.admin]) == 2
    assert "standard input has no user id" in capsys.readouterr().err
    assert main(["models", "erase-user", "", "--address", served.admin]) == 1
    assert "INVALID_ARGUMENT" in capsys.readouterr().err
    assert main(["models", "erasures", "--output", str(tmp_path), "--address", served.admin]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_batch_command_without_the_server_package_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "cofactor_server", None)
    assert main(["recommend-all", "--version-dir", "x"]) == 2
    assert "pip install 'cofactor[batch]'" in capsys.readouterr().err
