"""Run cofactor-serve in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc


class ServerProcess:
    """A cofactor-serve process.

    Attributes:
        log: file that gets the output.
        port: port that the server listens on.
    """

    def __init__(
        self,
        models: Path,
        log: Path,
        *flags: str,
        port: int = 0,
        program: tuple[object, ...] = ("-m", "cofactor_server"),
        environment: dict[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> None:
        """`launcher` is a command that runs the server elsewhere, such as in a network namespace."""
        self.log = log
        self.models = models
        command = [*launcher, sys.executable, *map(str, program), "--models", str(models), "--port", str(port)]
        with log.open("ab") as output:
            self._offset = output.tell()
            self.process = subprocess.Popen(
                [*command, "--provider", "cpu", *flags],
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self.port = port
        self._ready = "workers listening" if "--workers" in flags else "listening"
        self.wait_until_listening()

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        """Return the output of this process so far."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            return file.read().decode(errors="replace")

    def wait_until_listening(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(rf"{self._ready} on \S+ port (\d+)", self.text())
            if found:
                self.port = int(found[1])
                return
            assert self.process.poll() is None, f"the server ended: {self.text()}"
            assert time.monotonic() < deadline, f"the server does not start: {self.text()}"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Send a signal to the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def current_version(channel: grpc.Channel) -> str:
    """Return the version that answers calls now."""
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)
    return stub.GetModel(catalog_pb2.GetModelRequest(), timeout=10).model.version
