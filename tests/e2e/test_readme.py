"""Every command and example of README.md runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main
from tests.e2e.conftest import port_in
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    command.partition(" #")[0].strip()
    for language, block in BLOCKS
    if not language
    for command in block.splitlines()
    if re.match(r"(make|pip|docker|cofactor\S*|\.venv/bin/\S+) ", command)
]
PYTHON = "".join(block for language, block in BLOCKS if language == "python")
CLIENT_COMMANDS = [command for command in COMMANDS if command.startswith(".venv/bin/cofactor ")]
TRAINING = next(command for command in COMMANDS if command.startswith("cofactor-train "))
SERVING = next(command for command in COMMANDS if command.startswith("cofactor-serve "))


def test_every_command_is_run_or_checked_by_a_test() -> None:
    tested = {TRAINING, SERVING, *CLIENT_COMMANDS}
    others = [command for command in COMMANDS if command not in tested]
    # The tests below check make and pip; tests/server/test_deploy.py checks docker.
    assert {command.split()[0] for command in others} == {"make", "pip", "docker"}


@pytest.mark.parametrize("command", CLIENT_COMMANDS)
def test_a_command_of_the_client_succeeds(served, command, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COFACTOR_ADDRESS", served.address)
    assert main(shlex.split(command)[1:]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip()
    assert all(line.startswith("cofactor: note: ") for line in captured.err.splitlines())


def test_the_python_example_prints_titles(served, capsys) -> None:
    exec(compile(PYTHON.replace("localhost:50051", served.address), "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(re.fullmatch(r".+ \d\.\d+", line) for line in lines[:3])


def test_the_python_example_passes_mypy(tmp_path) -> None:
    (tmp_path / "example.py").write_text(PYTHON)
    flags = ["--strict", "--follow-imports", "silent", "--config-file", ROOT / "pyproject.toml"]
    command = [sys.executable, "-m", "mypy", *flags, "--cache-dir", tmp_path / "cache", "example.py"]
    environment = {"MYPYPATH": f"{ROOT / 'proto'}:{ROOT / 'client'}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    # mypy is silent about the stubs of an installed package, but not about those on MYPYPATH.
    assert [line for line in done.stdout.splitlines() if line.startswith("example.py")] == []
    assert done.returncode in (0, 1), done.stderr


def test_every_make_target_has_a_line_in_make_help() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"\bmake ([a-z-]+)", README)) - {"help"}
    assert targets >= {"demo", "test", "serve"}
    assert targets <= {line.split()[0] for line in listed.splitlines()}


def test_the_extras_to_install_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [name for names in re.findall(r"'\.\[([^\]]+)\]'", README) for name in names.split(",")]
    assert set(named) >= {"trainer", "server"}
    assert set(named) <= extras.keys()


def write_shop(folder: Path) -> None:
    """Write a small shop's ratings.csv, items.csv and users.csv: 60 customers with two tastes, 40 products."""
    random = np.random.default_rng(1)
    ratings = ["user,item,rating"]
    for user in range(60):
        for item in random.choice(40, 20, replace=False):
            liked = user % 2 == item % 2
            ratings.append(f"c{user},p{item},{random.integers(3, 6) if liked else random.integers(1, 4)}")
    items = ["item,title,genres,year", *(f"p{item},Product {item},Tools|Home,{1990 + item}" for item in range(40))]
    users = ["user,age,gender", *(f"c{user},{20 + user},{'FM'[user % 2]}" for user in range(60))]
    for name, lines in (("ratings", ratings), ("items", items), ("users", users)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.timeout(900)  # trains and exports in a process of its own: seconds, but minutes on a crowded machine
def test_the_commands_for_your_own_data_train_and_serve_a_shop(tmp_path) -> None:
    write_shop(tmp_path)
    train = [sys.executable, "-m", "cofactor_trainer", *shlex.split(TRAINING)[1:]]
    done = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    serve = [sys.executable, "-m", "cofactor_server", *shlex.split(SERVING)[1:], "--port", "0", "--provider", "cpu"]
    log_path = tmp_path / "log"
    with (
        log_path.open("w") as log,
        subprocess.Popen(serve, cwd=tmp_path, stdout=log, stderr=log) as server,
    ):
        try:
            until(lambda: port_in(log_path) or server.poll() is not None, 60, "the server listens")
            assert server.poll() is None, log_path.read_text()
            with Client(f"127.0.0.1:{port_in(log_path)}", timeout=60) as client:
                client.wait_until_ready(60)
                assert client.get_model().model.name == "shop"
                (best,) = client.recommend("c1", 1)
                assert best.title.startswith("Product ")
        finally:
            server.terminate()
            assert server.wait(30) == 0
