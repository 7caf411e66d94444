"""The server process of the demo: start it, wait until it is ready, stop it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cofactor_client import Client
from cofactor_client.errors import UnavailableError
from examples.demo.display import console
from examples.demo.paths import MODELS, SERVER_LOG

MAX_START_S = 60


@contextmanager
def running_server(port: int, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start a server on this machine and wait until it is ready. Yields the process and its address, then stops it."""
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "cofactor_server", "--models", str(MODELS), "--port", str(port), *flags]
    started = time.perf_counter()
    with SERVER_LOG.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:  # noqa: S603 - ours
        try:
            _wait_until_ready(server, address)
            seconds = time.perf_counter() - started
            console.print(f"cofactor-serve answers on {address} after {seconds:.1f} s (log: .demo/{SERVER_LOG.name})")
            yield server, address
        finally:
            server.send_signal(signal.SIGTERM)
            console.print(f"\nserver stopped with exit status {server.wait(timeout=30)}")


def _wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    """Wait until the server is ready. If it stops or takes too long, exit with the end of its log."""
    give_up = time.monotonic() + MAX_START_S
    with Client(address) as client:
        while server.poll() is None and time.monotonic() < give_up:
            try:
                return client.wait_until_ready(0.5)
            except UnavailableError:
                continue
    log = SERVER_LOG.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise SystemExit("\n".join(["error: the server did not start; the end of its log:", *log]))


def wait_until_interrupted(server: subprocess.Popen[bytes]) -> None:
    """Wait until the user presses Ctrl-C. Exits with an error if the server stops before."""
    console.print("Press Ctrl-C to stop the server.")
    try:
        status = server.wait()
    except KeyboardInterrupt:
        return
    raise SystemExit(f"error: the server stopped by itself with status {status}; see .demo/{SERVER_LOG.name}")


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
