"""The examples in the client's docstrings and in docs/client-python.md run against a server."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "client-python.md"
MODULES = [
    "cofactor_client",
    "cofactor_client._channel",
    "cofactor_client._client",
    "cofactor_client._request_messages",
]
MODULES += ["cofactor_client._catalog_client", "cofactor_client.aio"]


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in MODULES:
        module = importlib.import_module(name)
        for test in finder.find(module, name):
            if test.examples:
                yield pytest.param(test, id=test.name)
    text = PAGE.read_text(encoding="utf-8")
    yield pytest.param(doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0), id=PAGE.name)


@pytest.mark.parametrize("test", list(examples()))
def test_the_example_gives_the_documented_output(served, test):
    for example in test.examples:
        example.source = example.source.replace("localhost:50051", served.address)
    output = []
    with Client(served.address) as client:
        test.globs.setdefault("client", client)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
        runner.run(test, out=output.append, clear_globs=False)
    assert not output, "".join(output)


def test_every_method_has_an_example():
    documented = {param.id.rpartition(".")[2] for param in examples()}
    single = {"predict", "recommend", "similar_items", "embed_new_user", "explain", "search_items", "top_items"}
    bulk = {"predict_arrays", "predict_frame", "recommend_frame", "batch_recommend", "stream_recommend", "get_model"}
    assert single | bulk <= documented


COMMANDS = re.findall(r"^cofactor (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documented_command_succeeds(served, command, monkeypatch, capsys):
    monkeypatch.setenv("COFACTOR_ADDRESS", served.address)
    assert main(shlex.split(command)) == 0
    captured = capsys.readouterr()
    assert captured.out.strip()
    assert not captured.err


def test_every_subcommand_is_documented():
    assert {"predict", "recommend", "similar", "embed", "explain", "search", "top", "model"} <= {
        command.split()[0] for command in COMMANDS
    }
