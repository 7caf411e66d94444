"""Measure one to three real servers on this machine, for the simulation to be compared with."""

from __future__ import annotations

import itertools
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from benchmarks.serving.machine import CORES
from benchmarks.serving.server_process import RunningServer, ServerSpec
from cofactor.v1 import recommender_pb2 as pb

MODELS = Path(__file__).resolve().parents[2] / "tests" / "compatibility" / "first_release" / "models"
METHOD = "/cofactor.v1.RecommenderService/BatchRecommend"
N_USERS = 60
Call = Callable[[bytes], object]


@dataclass(frozen=True)
class Window:
    """The measures of one window of calls.

    Attributes:
        rate: responses per second.
        seconds: duration of every call.
        client: processor seconds of the client for a call.
        server: processor seconds of the servers for a call.
    """

    rate: float
    seconds: list[float]
    client: float
    server: float


def requests(seed: int, count: int = 512) -> list[bytes]:
    """Return serialised batches of different sizes, as services take different times."""
    generator = random.Random(seed)
    batches = []
    for _ in range(count):
        size = min(256, 24 + int(generator.expovariate(1 / 60)))
        users = [pb.User(user_id=f"u{generator.randrange(N_USERS)}") for _ in range(size)]
        entries = [pb.RecommendRequest(user=user, page_size=1) for user in users]
        batches.append(pb.BatchRecommendRequest(requests=entries).SerializeToString())
    return batches


@contextmanager
def servers(count: int) -> Iterator[list[RunningServer]]:
    """Start servers that handle one call at a time, on all processors, without a cache."""
    flags = ("--threads", "1", "--batching", "off", "--cache-mib", "0", "--poll-interval-s", "0", "--provider", "cpu")
    command = (sys.executable, "-m", "cofactor_server", "--models", str(MODELS), "--port", "{port}", *flags)
    spec = ServerSpec("cofactor", command, "grpc", METHOD, cores=tuple(CORES))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        started = []
        for number in range(count):
            server = RunningServer(spec, requests(0, 1)[0], Path(folder) / f"{number}.log")
            stack.callback(server.stop)
            started.append(server)
        yield started


def window(running: Sequence[RunningServer], in_flight: int, seconds: float, seed: int) -> Window:
    """Call servers in turn, with `in_flight` calls at any time, and measure after a tenth of the time."""
    bodies, found = requests(seed), []
    turns, positions = itertools.count(), itertools.count()
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(server.target)) for server in running]
        calls: list[Call] = [channel.unary_unary(METHOD) for channel in channels]
        for call in calls:
            call(bodies[0])
        begin = time.perf_counter() + seconds / 10
        end = begin + seconds

        def caller() -> None:
            while (start := time.perf_counter()) < end:
                calls[next(turns) % len(calls)](bodies[next(positions) % len(bodies)])
                found.append((start, time.perf_counter()))

        threads = [threading.Thread(target=caller) for _ in range(in_flight)]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, begin - time.perf_counter()))
        before = _used(running)
        time.sleep(max(0.0, end - time.perf_counter()))
        after = _used(running)
        for thread in threads:
            thread.join()
    inside = [(start, stop) for start, stop in found if begin <= stop < end]
    used = [(then - now) / len(inside) for now, then in zip(before, after, strict=True)]
    return Window(len(inside) / seconds, [stop - start for start, stop in inside], *used)


def _used(running: Sequence[RunningServer]) -> tuple[float, float]:
    """Return the processor seconds of this process and of the servers."""
    mine = sum(psutil.Process().cpu_times()[:2])
    return mine, sum(sum(server.process.cpu_times()[:2]) for server in running)


def median(values: Sequence[float]) -> float:
    """Return the median, which a disturbed window does not move."""
    return statistics.median(values)
