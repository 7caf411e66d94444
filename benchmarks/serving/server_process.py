"""Start servers under test on their own core, wait for them, measure their memory and stop them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import grpc
import psutil

from benchmarks.serving.machine import SERVER_CORE, memory, on_cores, prioritise

READY_SECONDS = 120.0


@dataclass(frozen=True)
class ServerSpec:
    """How to start and call a server.

    In its arguments and environment "{port}" is replaced by its port and "{other_port}" by another free one.

    Attributes:
        name: unique in a run.
        command: program and arguments.
        transport: "grpc" or "http".
        method: full gRPC method, or path of a POST.
        content_type: of the body of a POST.
        cores: cores that it runs on.
    """

    name: str
    command: tuple[str, ...]
    transport: str
    method: str
    content_type: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    directory: Path | None = None
    cores: tuple[int, ...] = (SERVER_CORE,)


class RunningServer:
    """A server that has responded to its first request.

    Attributes:
        cold_start: seconds from starting the process to the first response.
    """

    def __init__(self, spec: ServerSpec, first_request: bytes, log: Path) -> None:
        self.spec = spec
        self.port = free_port()
        self._log: IO[bytes] = log.open("wb")
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            **{name: value.format(port=self.port) for name, value in spec.environment.items()},
        }
        other_port = str(free_port())
        begin = time.monotonic()
        with on_cores(spec.cores):
            self._process = subprocess.Popen(
                [part.format(port=self.port, other_port=other_port) for part in spec.command],
                cwd=spec.directory,
                env=environment,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.process = psutil.Process(self._process.pid)
        prioritise(self.process)
        try:
            self._await_response(first_request, begin + READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.cold_start = time.monotonic() - begin
        prioritise(self.process)  # again, for processes that it started in sessions of their own

    @property
    def target(self) -> str:
        """Return its address."""
        return f"127.0.0.1:{self.port}"

    def memory(self) -> tuple[float, float]:
        """Return resident and proportional memory, MiB."""
        return memory(self.process)

    def stop(self) -> None:
        """Terminate its processes; kill them after five seconds."""
        for signal_number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self._process.pid, signal_number)
                self._process.wait(seconds)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._log.close()

    def _await_response(self, request: bytes, deadline: float) -> None:
        ask = self._ask_grpc if self.spec.transport.startswith("grpc") else self._ask_http
        while True:
            if self._process.poll() is not None:
                tail = Path(self._log.name).read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{self.spec.name} ended with status {self._process.returncode}:\n{tail}")
            try:
                ask(request)
            except (OSError, http.client.HTTPException, grpc.RpcError) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{self.spec.name} did not respond within {READY_SECONDS:.0f} s: {error}"
                    ) from error
                time.sleep(0.02)
            else:
                return

    def _ask_grpc(self, request: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 1):
            pass
        with grpc.insecure_channel(self.target) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(self.spec.method)
            call(request, timeout=10, wait_for_ready=True)

    def _ask_http(self, request: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", self.spec.method, request, {"Content-Type": self.spec.content_type})
        response = connection.getresponse()
        if response.status != 200:
            raise http.client.HTTPException(f"{response.status} {response.read()[:200]!r}")
        connection.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
