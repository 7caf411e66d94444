"""Install the wheel in a fresh environment, as the server's image does, start the server and call it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.release.artefacts import run
from tools.release.errors import ReleaseError

# A version that release 0.1 exported, and a user that it knows.
MODELS = Path("tests/compatibility/first_release/models")
USER = "u1"
_SECONDS = 60


def install(wheel: Path, lock: Path, environment: Path, uv: str) -> Path:
    """Install the packages of a lock and the wheel in a new environment; return its folder of commands."""
    run([uv, "venv", "--quiet", "--python", sys.executable, environment], environment.parent)
    into = ["--quiet", "--python", environment / "bin" / "python"]
    run([uv, "pip", "sync", *into, "--require-hashes", lock], environment.parent)
    run([uv, "pip", "install", *into, "--no-deps", wheel], environment.parent)
    run([uv, "pip", "check", *into], environment.parent)
    return environment / "bin"


def try_out(commands: Path, version: str, models: Path, folder: Path) -> None:
    """Run the commands of an environment: their version, a server with its models, one call, an orderly end.

    Raises ReleaseError if any of it fails.
    """
    for command in ("cofactor", "cofactor-serve"):
        answer = _run([commands / command, "--version"], folder).stdout.strip()
        if answer.split()[-1:] != [version]:
            raise ReleaseError(f"{command} --version says {answer!r}; it should say {version}")
    log = folder / "server.log"
    with log.open("wb") as output:
        flags = ["--models", models.absolute(), "--port", "0", "--provider", "cpu", "--drain-delay-s", "0"]
        server = subprocess.Popen(
            [str(word) for word in (commands / "cofactor-serve", *flags)],
            cwd=folder, stdout=output, stderr=output, env=_environment(),
        )  # fmt: skip
    try:
        address = f"127.0.0.1:{_port(server, log)}"
        listed = _run([commands / "cofactor", "recommend", USER, "--address", address], folder).stdout
        if not re.search(r"^\W*1\b.*\d", listed, re.MULTILINE):
            raise ReleaseError(f"cofactor recommend printed no list: {listed[:500]}")
        server.send_signal(signal.SIGTERM)
        if code := server.wait(_SECONDS):
            raise ReleaseError(f"the server ended with {code}: {log.read_text(encoding='utf-8')[-2000:]}")
    finally:
        server.kill()
        server.wait()


def _environment() -> dict[str, str]:
    """Return the environment without what could put other code in the place of the wheel."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COFACTOR_"))}


def _run(command: list[object], folder: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS, env=_environment()
    )
    if done.returncode:
        raise ReleaseError(f"{' '.join(words)} failed: {done.stdout}{done.stderr}")
    return done


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the server listens and return its port."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8")
        if found := re.search(r"listening on \S+ port (\d+)", text):
            return int(found[1])
        if server.poll() is not None:
            raise ReleaseError(f"the server does not start: {text[-2000:]}")
        time.sleep(0.05)
    raise ReleaseError(f"the server does not listen after {_SECONDS} s: {log.read_text(encoding='utf-8')[-2000:]}")
