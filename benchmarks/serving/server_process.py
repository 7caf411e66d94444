"""Servers under test: started on their own core, waited for, measured and stopped."""

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
    """How to start a server; "{port}" in its arguments and environment becomes its port, "{other_port}" a free one.

    Attributes:
        name: unique in a run.
        command: program and arguments.
        transport: "grpc" or "http".
        method: full gRPC method, or path of a POST.
        content_type: of a POST.
        cores: where it runs.
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
    """A server that has answered its first request.

    Attributes:
        cold_start: seconds from starting the process to the first answer.
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
            self._await_answer(first_request, begin + READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.cold_start = time.monotonic() - begin
        prioritise(self.process)  # what it started in sessions of its own

    @property
    def target(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"

    def memory(self) -> tuple[float, float]:
        """Resident and proportional memory, MiB."""
        return memory(self.process)

    def stop(self) -> None:
        """Ask its session to end, and end it after five seconds."""
        for signal_number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self._process.pid, signal_number)
                self._process.wait(seconds)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._log.close()

    def _await_answer(self, request: bytes, deadline: float) -> None:
        ask = self._ask_grpc if self.spec.transport.startswith("grpc") else self._ask_http
        while True:
            if self._process.poll() is not None:
                tail = Path(self._log.name).read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{self.spec.name} ended with status {self._process.returncode}:\n{tail}")
            try:
                ask(request)
            except (OSError, http.client.HTTPException, grpc.RpcError) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.spec.name} gave no answer in {READY_SECONDS:.0f} s: {error}") from error
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
        answer = connection.getresponse()
        if answer.status != 200:
            raise http.client.HTTPException(f"{answer.status} {answer.read()[:200]!r}")
        connection.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
