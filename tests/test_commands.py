"""The four commands name their version, and an extra that is not installed, in one line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

MODULES = {
    "cofactor": "cofactor_client",
    "cofactor-serve": "cofactor_server",
    "cofactor-train": "cofactor_trainer",
    "cofactor-web": "cofactor_web",
}


@pytest.mark.parametrize("command", MODULES)
def test_version_prints_the_command_and_the_installed_version(command) -> None:
    words = [sys.executable, "-m", MODULES[command], "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{command} {version('cofactor')}\n", "")


@pytest.mark.parametrize(
    ("module", "missing", "arguments", "extra"),
    [
        ("cofactor_trainer", "torch", ["--dataset", "ratings.csv"], "trainer"),
        ("cofactor_trainer", "shtab", ["--help"], "trainer"),
        ("cofactor_server", "onnxruntime", ["--models", "."], "server"),
        ("cofactor_server", "numpy", ["--models", ".", "--workers", "2"], "server"),
        ("cofactor_web", "uvicorn", ["--target", "localhost"], "web"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(module, missing, arguments, extra) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; from {module}.__main__ import main; sys.exit(main({arguments}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert f"needs the package {missing}: pip install 'cofactor[{extra}]'" in line
