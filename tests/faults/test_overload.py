"""T8, T10: more calls than the server can answer, and more calls than may wait."""

from __future__ import annotations

import threading
import time
from collections import Counter

import grpc
import numpy as np
import pytest

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server
from tests.support.checking_clients import connect
from tests.support.figures import FULL, figures
from tests.support.server_process import ServerProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

THREADS, QUEUE = 2, 8
DEADLINE_S = 2.0


class OpenLoop:
    """Sends calls at a steady rate and waits for no response, as independent callers do."""

    def __init__(self, stubs, request) -> None:
        self.codes: Counter[str] = Counter()
        self.accepted_s: list[float] = []
        self._stubs = stubs
        self._request = request
        self._lock = threading.Lock()
        self._open = threading.Semaphore(4096)

    def run(self, rate: float, seconds: float) -> None:
        started = time.monotonic()
        sent = 0
        while (now := time.monotonic() - started) < seconds:
            while sent < now * rate:
                self._send(self._stubs[sent % len(self._stubs)])
                sent += 1
            time.sleep(0.002)
        for _ in range(4096):
            self._open.acquire()

    def _send(self, stub) -> None:
        self._open.acquire()
        started = time.monotonic()
        call = stub.future(self._request, timeout=DEADLINE_S)
        call.add_done_callback(lambda done: self._count(done, started))

    def _count(self, call, started: float) -> None:
        with self._lock:
            self.codes[call.code().name] += 1
            if call.code() == grpc.StatusCode.OK:
                self.accepted_s.append(time.monotonic() - started)
        self._open.release()


def heavy_request(versions) -> bytes:
    """Return an encoded request that is much work for the server and little for this process.

    Otherwise this process could not overload the server. The users are new, so that no response comes from the cache.
    """
    ratings = [recommender_pb2.Rating(item_id=item_id, rating=3.0) for item_id in versions.item_ids[:20]]
    user = recommender_pb2.User(history=recommender_pb2.RatingHistory(ratings=ratings))
    entry = recommender_pb2.RecommendRequest(user=user, page_size=1, diversity=0.5)
    return recommender_pb2.BatchRecommendRequest(requests=[entry] * 32).SerializeToString()


def capacity(stub, request, seconds: float) -> float:
    """Return the calls per second that the server answers with all threads busy and almost no queue."""
    ended, n = time.monotonic() + seconds, 0
    open_calls = [stub.future(request, timeout=30) for _ in range(THREADS + 1)]
    while time.monotonic() < ended:
        open_calls.pop(0).result()
        n += 1
        open_calls.append(stub.future(request, timeout=30))
    for call in open_calls:
        call.result()
    return n / seconds


def overload(versions, log, queue: int, seconds: float) -> dict[str, object]:
    flags = ("--threads", str(THREADS), "--max-queue-size", str(queue), "--poll-interval-s", "0")
    request = heavy_request(versions)
    with ServerProcess(versions.models, log, *flags) as server:
        channels = [connect(f"127.0.0.1:{server.port}", retries=False, balanced=False) for _ in range(8)]
        # Without serializers: requests and responses are bytes.
        stubs = [channel.unary_unary("/cofactor.v1.RecommenderService/BatchRecommend") for channel in channels]
        alone = capacity(stubs[0], request, 2.0)
        load = OpenLoop(stubs, request)
        load.run(5 * alone, seconds)
        ended = time.monotonic()
        while True:
            started = time.monotonic()
            try:
                stubs[0](request, timeout=DEADLINE_S)
            except grpc.RpcError:
                pass
            else:
                if time.monotonic() - started < 5 / alone:
                    break
            assert time.monotonic() - ended < 30, "the server does not recover"
        recovery_s = time.monotonic() - ended
        for channel in channels:
            channel.close()
    return {
        "capacity": round(alone),
        "codes": dict(load.codes),
        "accepted_p99_s": round(float(np.quantile(load.accepted_s, 0.99)), 3) if load.accepted_s else None,
        # Three times the wait of the last call in the queue, and 0.5 s for delays of this process on a busy machine.
        "bound_s": round(3 * (THREADS + QUEUE + 1) / (load.codes["OK"] / seconds or 1) + 0.5, 3),
        "recovery_s": round(recovery_s, 2),
    }


def test_t8_overload_is_refused_at_once_and_accepted_calls_are_answered_soon(versions, tmp_path) -> None:
    with figures("T8", seconds=60 if FULL else 4) as found:
        found.update(overload(versions, tmp_path / "log", QUEUE, found["seconds"]))
    codes = found["codes"]
    assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert codes["RESOURCE_EXHAUSTED"] > codes["OK"] > 0, "invalid run: the server was not overloaded"
    assert found["accepted_p99_s"] <= found["bound_s"]
    assert found["recovery_s"] <= 5


def test_t8_control_without_a_limit_the_wait_grows(versions, tmp_path) -> None:
    found = overload(versions, tmp_path / "log", 100_000, 4)
    assert found["accepted_p99_s"] is None or found["accepted_p99_s"] > found["bound_s"]


@pytest.mark.parametrize("n_too_many", [1, 7, 40])
def test_t10_exactly_the_calls_over_the_limit_are_refused(versions, n_too_many) -> None:
    config = ServerConfig(
        models=str(versions.models),
        port=0,
        provider="cpu",
        threads=3,
        max_queue_size=20,
        drain_delay_s=0,
        batching="off",  # otherwise a blocked thread would also block the calls in its batch
    )
    released, blocked = threading.Event(), threading.Semaphore(0)
    with create_server(config) as server, connect(f"127.0.0.1:{server.port}", retries=False) as channel:
        version = next(iter(server.repository.versions.values()))[0]
        rank = version.ranker.rank

        def wait_and_rank(query):
            blocked.release()
            released.wait(60)
            return rank(query)

        version.ranker.rank = wait_and_rank
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        request = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=versions.user_ids[0]))
        fitting = [stub.Recommend.future(request, timeout=60) for _ in range(3 + 20)]
        for _ in range(3):
            assert blocked.acquire(timeout=30)
        until(lambda: server.pools.calls.n_calls == 3 + 20, 30, "the others are in the queue")
        refused = [stub.Recommend.future(request, timeout=60) for _ in range(n_too_many)]
        codes = Counter(call.code().name for call in refused)
        assert codes == {"RESOURCE_EXHAUSTED": n_too_many}
        assert not any(call.done() for call in fitting)
        released.set()
        assert Counter(call.code().name for call in fitting) == {"OK": 23}
        assert stub.Recommend(request, timeout=10).results, "control: there is room again"
