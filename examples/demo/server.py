"""A server process on this machine, from its start to its end."""

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
from examples.demo.state import MODELS, SERVER_LOG


@contextmanager
def serving(port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server process on this machine, ready; stopped at the end."""
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "cofactor_server", "--models", str(MODELS), "--port", str(port)]
    started = time.perf_counter()
    with SERVER_LOG.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:  # noqa: S603 - ours
        try:
            wait_until_ready(server, address)
            seconds = time.perf_counter() - started
            console.print(f"cofactor-serve answers on {address} after {seconds:.1f} s (log: .demo/{SERVER_LOG.name})")
            yield server, address
        finally:
            server.send_signal(signal.SIGTERM)
            console.print(f"\nserver stopped, exit status {server.wait(timeout=30)}")


def wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    """Returns when the server's health is SERVING; ends the program with the server's own words when it gives up."""
    with Client(address) as client:
        for _ in range(120):
            try:
                return client.wait_until_ready(0.5)
            except UnavailableError:
                if server.poll() is not None:
                    break
    words = SERVER_LOG.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise SystemExit("\n".join(["error: the server did not start; it said:", *words]))


def stay_up(server: subprocess.Popen[bytes]) -> None:
    """Waits until interrupted."""
    console.print("Ctrl-C stops the server.")
    try:
        status = server.wait()
    except KeyboardInterrupt:
        return
    raise SystemExit(f"error: the server stopped by itself with status {status}; see .demo/{SERVER_LOG.name}")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
