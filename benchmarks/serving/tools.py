"""Install what a run needs: the peers in virtual environments of their own, and the load drivers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = HERE / ".cache"
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.93.0"


class MissingToolError(Exception):
    """A program is missing; the message says how to get it."""


def venv(name: str) -> Path:
    """Return the bin folder of an environment with requirements-<name>.txt; create it if needed."""
    folder = CACHE / "venvs" / name
    requirements = HERE / f"requirements-{name}.txt"
    stamp = folder / ".installed"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        uv = _program("uv", ROOT / ".bootstrap/bin/uv", "run `make` once, which installs it")
        print(f"installing {requirements.name}", flush=True)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--requirement", requirements],
            check=True,
            env={**os.environ, "VIRTUAL_ENV": str(folder)},
        )
        stamp.write_text(requirements.read_text())
    return folder / "bin"


def driver() -> Path:
    """Build the load driver from driver/; return its path."""
    program = CACHE / "driver"
    _go("build", "-o", str(program), ".", directory=HERE / "driver")
    return program


def ghz() -> Path:
    """Install ghz if needed; return its path."""
    program = CACHE / "ghz"
    if not program.exists():
        print(f"installing {GHZ}", flush=True)
        _go("install", GHZ, directory=CACHE)
    return program


def _go(*arguments: str, directory: Path) -> None:
    go = _program("go", Path("/usr/local/go/bin/go"), "install Go 1.26 or newer")
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run([go, *arguments], cwd=directory, check=True, env={**os.environ, "GOBIN": str(CACHE)})


def _program(name: str, usual_place: Path, remedy: str) -> str:
    found = shutil.which(name) or (str(usual_place) if usual_place.exists() else None)
    if found is None:
        raise MissingToolError(f"{name} is missing: {remedy}")
    return found
