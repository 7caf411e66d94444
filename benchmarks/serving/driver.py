"""Run the load driver (driver/*.go) and read the CPU clocks around its measured window."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving.machine import CORES, DRIVER_CORE, has_priority, on_cores, prioritise, usage
from benchmarks.serving.server_process import RunningServer
from benchmarks.serving.workload import Workload

QUIET = 0.15
"""Most that other programs may use of the server's cores, in cores; a window above it is not judged."""
OPEN_LOOP_CALLS = 1024
"""Most calls in flight in an open loop."""


@dataclass(frozen=True)
class Load:
    """The calls to send.

    Attributes:
        in_flight: calls in flight in all, or messages in flight on each stream.
        streams: number of streams; 0 for unary calls.
        rate: calls per second of an open loop; 0 for a closed loop.
        per_call: results in a call: users of a batch, pairs of a Predict.
        method: full gRPC method, if it is not the default of the server.
    """

    workload: Workload
    in_flight: int
    streams: int = 0
    rate: float = 0.0
    per_call: int = 1
    method: str = ""

    def connections(self) -> int:
        """Return the number of connections: one for eight calls."""
        return self.streams or max(1, min(64, self.in_flight // 8))


@dataclass(frozen=True)
class Measurement:
    """The figures of one window: times in milliseconds, rates in responses per second, CPU use in cores.

    Attributes:
        others: CPU use of other programs on the whole machine.
        disturbance: CPU use of other programs on the server's cores.
        protected: True if server and driver had priority over other programs.
    """

    rate: float
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    server_cores: float
    driver_cores: float
    others: float
    disturbance: float
    protected: bool

    @property
    def quiet(self) -> bool:
        """Return True if the window may be judged: other programs used little, or only what the server left idle."""
        return self.disturbance <= QUIET or self.protected

    @property
    def cpu_us(self) -> float:
        """Return the server's CPU time per response, microseconds."""
        return self.server_cores / self.rate * 1e6 if self.rate else float("inf")


class WrongAnswerError(Exception):
    """A server failed a call or sent a wrong response."""


def measure(
    driver: Path, server: RunningServer, load: Load, warmup: float, seconds: float, shared: bool
) -> Measurement:
    """Load a server and measure one window.

    Args:
        driver: the program to run.
        server: what to load.
        load: what to send.
        warmup: seconds before the window.
        seconds: length of the window.
        shared: True if driver and server use the same cores, because the server takes all of them.
    """
    spec = server.spec
    job = {
        "target": server.target,
        "transport": "grpc-stream" if load.streams else spec.transport,
        "method": load.method or spec.method,
        "content_type": spec.content_type,
        "workload": str(load.workload.path),
        "check": load.workload.check,
        "path": load.workload.fields,
        "in_flight": OPEN_LOOP_CALLS if load.rate else load.in_flight,
        "connections": 8 if load.rate else load.connections(),
        "streams": load.streams,
        "rate": load.rate,
        "warmup": warmup,
        "seconds": seconds,
    }
    with on_cores(CORES if shared else [DRIVER_CORE]):
        process = subprocess.Popen(
            [driver],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "GOMAXPROCS": "2", "GOGC": "400"},
            text=True,
            start_new_session=True,
        )
    prioritise(psutil.Process(process.pid))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    started = process.stdout.readline()
    processes = (server.process, psutil.Process(process.pid), spec.cores)
    clocks, begin = usage(*processes), time.monotonic()
    if started.strip() != "begin":
        process.wait()
        raise WrongAnswerError(f"{spec.name}: the driver did not start; its message is above")
    time.sleep(seconds - 0.02)
    used, window = usage(*processes) - clocks, time.monotonic() - begin
    text = process.stdout.read()
    if process.wait() != 0:
        raise WrongAnswerError(f"{spec.name}: the driver failed; its message is above")
    found = _checked(spec.name, json.loads(text))
    return Measurement(
        rate=found["rate"] * load.per_call,
        mean=found["mean_ms"],
        p50=found["p50_ms"],
        p90=found["p90_ms"],
        p99=found["p99_ms"],
        p999=found["p999_ms"],
        server_cores=used.server / window,
        driver_cores=used.driver / window,
        others=used.others / window,
        disturbance=used.disturbance(shared=shared) / window,
        protected=has_priority(),
    )


def _checked(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return the driver's result; raise WrongAnswerError if a single call failed or got a wrong response."""
    failures: dict[str, int] = result["failures"]
    if failures:
        wrong = sum(failures.values())
        raise WrongAnswerError(f"{name}: {wrong} calls failed of {wrong + result['responses']}: {list(failures)[:3]}")
    return result
