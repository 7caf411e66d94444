"""The page of the demo: a server with the gateway beside it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from examples.demo.display import console
from examples.demo.paths import WEB_LOG
from examples.demo.server import free_port, running_server

DEFAULT_PORT = 8080


def run_page(server_port: int) -> int:
    """Run the server and the gateway until Ctrl-C. Returns 0, or 1 if one of them stops by itself."""
    metrics_port, admin_port = free_port(), free_port()
    flags = ("--metrics-port", str(metrics_port), "--admin-port", str(admin_port))
    with (
        running_server(server_port, *flags) as (server, address),
        _running_gateway(
            *("--target", address, "--admin-target", f"127.0.0.1:{admin_port}"),
            *("--metrics-url", f"http://127.0.0.1:{metrics_port}/metrics"),
        ) as (gateway, line),
    ):
        console.print(line, style="bold", soft_wrap=True)
        console.print("Press Ctrl-C to stop the page and the server.")
        return _wait_until_interrupted(server, gateway)


@contextmanager
def _running_gateway(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a gateway at port 8080, or at any if that is taken. Yields the process and the line with its address."""
    gateway, line = _start(DEFAULT_PORT, flags)
    if not line:
        gateway, line = _start(0, flags)
    if not line:
        log = WEB_LOG.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        raise SystemExit("\n".join(["error: the gateway did not start; the end of its log:", *log]))
    try:
        yield gateway, line
    finally:
        gateway.send_signal(signal.SIGTERM)
        console.print(f"page stopped with exit status {gateway.wait(timeout=30)}")


def _start(port: int, flags: tuple[str, ...]) -> tuple[subprocess.Popen[str], str]:
    """Start a gateway; return the process and the line that it prints, which is empty if it could not start."""
    command = [sys.executable, "-m", "cofactor_web", "--port", str(port), *flags]
    with WEB_LOG.open("w", encoding="utf-8") as log:
        # A group of its own: Ctrl-C in the terminal reaches the demo, which stops the gateway.
        gateway = subprocess.Popen(  # noqa: S603 - ours
            command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    assert gateway.stdout is not None
    line = gateway.stdout.readline().strip()
    if not line:
        gateway.wait(timeout=30)
    return gateway, line


def _wait_until_interrupted(server: subprocess.Popen[bytes], gateway: subprocess.Popen[str]) -> int:
    """Wait until the user presses Ctrl-C."""
    try:
        while server.poll() is None and gateway.poll() is None:
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    console.print(f"error: the server or the page stopped by itself; see .demo/{WEB_LOG.name} and .demo/server.log")
    return 1
