"""T9: good, bad, cancelling and crashing clients for many minutes; the memory stays flat."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import psutil
import pytest

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from tests.support.checking_clients import Clients, connect
from tests.support.figures import FULL, SEED, figures
from tests.support.server_process import ServerProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3 * 3600)]

MINUTES = float(os.environ.get("FAULTS_SOAK_MINUTES", "30" if FULL else "0.35"))
MIB = 2**20
# Allocators take a while to settle, so growth counts only after this share of the run.
WARM_UP = 0.3
CRASHING_CLIENT = """
import os, sys, grpc
from cofactor.v1 import recommender_pb2 as pb, recommender_pb2_grpc
stub = recommender_pb2_grpc.RecommenderServiceStub(grpc.insecure_channel(sys.argv[1]))
calls = [stub.Recommend.future(pb.RecommendRequest(user=pb.User(user_id=sys.argv[2])), timeout=10) for _ in range(20)]
request = pb.RecommendRequest(user=pb.User(user_id=sys.argv[2]))
requests = iter(lambda: pb.StreamRecommendRequest(request_id="1", request=request), None)
stream = stub.StreamRecommend(requests, timeout=10)
next(stream)
os._exit(1)
"""


class BadClients:
    """Clients that send malformed bodies, cancel, or crash during calls."""

    def __init__(self, target: str, user_ids: list[str]) -> None:
        self.n_bad = self.n_cancelled = self.n_crashed = 0
        self._target = target
        self._user_ids = user_ids
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send_malformed, self._cancel, self._crash)]

    def __enter__(self) -> BadClients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _send_malformed(self) -> None:
        chance = random.Random(SEED)
        with connect(self._target, retries=False) as channel:
            call = channel.unary_unary("/cofactor.v1.RecommenderService/Recommend")
            while not self._stopping.wait(0.02):
                try:
                    call(chance.randbytes(chance.choice((0, 5, 50, 5000))), timeout=5)
                except grpc.RpcError:
                    self.n_bad += 1

    def _cancel(self) -> None:
        with connect(self._target, retries=False) as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            request = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=self._user_ids[0]))
            while not self._stopping.wait(0.02):
                stub.Recommend.future(request, timeout=5).cancel()
                stream = stub.StreamRecommend(
                    iter([recommender_pb2.StreamRecommendRequest(request=request)]), timeout=5
                )
                stream.cancel()
                self.n_cancelled += 2

    def _crash(self) -> None:
        while not self._stopping.wait(1.0):
            subprocess.run(
                [sys.executable, "-c", CRASHING_CLIENT, self._target, self._user_ids[0]],
                check=False,
                stderr=subprocess.DEVNULL,
            )
            self.n_crashed += 1


def soak(versions, server: ServerProcess, minutes: float, rate: float) -> dict[str, object]:
    target = f"127.0.0.1:{server.port}"
    process = psutil.Process(server.pid)
    samples: list[tuple[float, float]] = []
    started = time.monotonic()
    number = 1
    with (
        Clients(versions, lambda: connect(target), n_clients=8, rate=rate) as clients,
        BadClients(target, versions.user_ids) as bad_clients,
    ):
        while (elapsed := time.monotonic() - started) < 60 * minutes:
            samples.append((elapsed, process.memory_info().rss / MIB))
            if elapsed > number * 20:  # a server also reloads from time to time
                number += 1
                versions.publish(str(number))
            time.sleep(min(1.0, 0.6 * minutes))
    outcome = clients.outcome
    after_warm_up = [rss for at, rss in samples if at > WARM_UP * elapsed]
    n_samples = max(1, len(after_warm_up) // 5)
    return {
        "minutes": round(elapsed / 60, 2),
        "requests": sum(outcome.codes.values()),
        "errors": outcome.n_failed,
        "wrong": len(outcome.wrong),
        "bad": bad_clients.n_bad,
        "cancelled": bad_clients.n_cancelled,
        "crashed": bad_clients.n_crashed,
        "reloads": number - 1,
        "rss_warm_mib": round(float(np.median(after_warm_up[:n_samples])), 1),
        "rss_end_mib": round(float(np.median(after_warm_up[-n_samples:])), 1),
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
    }


def grown(found: dict[str, object]) -> float:
    """Return the growth in MiB from the end of the warm-up to the end of the run."""
    return found["rss_end_mib"] - found["rss_warm_mib"]


def test_t9_soak_leaves_memory_flat(versions, tmp_path) -> None:
    with (
        figures("T9") as found,
        ServerProcess(versions.models, tmp_path / "log", "--poll-interval-s", "1") as server,
    ):
        found.update(soak(versions, server, MINUTES, rate=200))
        assert server.stop(signal.SIGTERM) == 0
    assert found["errors"] == 0
    assert found["wrong"] == 0
    assert min(found["bad"], found["cancelled"], found["crashed"]) > 0
    assert grown(found) < 8
    assert found["descriptors"] < 200
    assert "Traceback" not in server.text()


def test_t9_control_a_leak_is_noticed(versions, tmp_path) -> None:
    with (
        figures("T9 control") as found,
        ServerProcess(
            versions.models,
            tmp_path / "log",
            "--poll-interval-s",
            "0",
            program=("-m", "tests.support.leaky_server"),
        ) as server,
    ):
        found.update(soak(versions, server, 0.5, rate=600))
    assert grown(found) > 8
