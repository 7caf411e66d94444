"""Run clients that call without end and check every response."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import numpy as np

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from tests.support.figures import SEED
from tests.support.known_versions import PAGE_SIZE, Versions

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}


def connect(target: str, *, retries: bool = True, balanced: bool = True) -> grpc.Channel:
    """Open a channel with a connection of its own, and with the service config of the shipped client or parts of it."""
    config = dict(SERVICE_CONFIG)
    if not retries:
        del config["methodConfig"]
    if not balanced:
        config = {}
    return grpc.insecure_channel(
        target,
        options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.service_config", json.dumps(config)),
            ("grpc.enable_retries", int(retries)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )


@dataclass
class Outcome:
    """Results of the calls of all clients.

    Attributes:
        codes: calls by gRPC code.
        wrong: problems of responses that differ from those of the version that they name.
        versions: responses by version.
        seconds: latencies of the calls that succeeded.
        ok_times: when these calls ended, by time.monotonic().
        failed_times: when the other calls ended.
        errors: codes and messages of the other calls.
        elapsed_s: time from the start of the clients to their end.
    """

    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    ok_times: list[float] = field(default_factory=list)
    failed_times: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def n_ok(self) -> int:
        return self.codes["OK"]

    @property
    def n_failed(self) -> int:
        return sum(self.codes.values()) - self.n_ok

    @property
    def rate(self) -> float:
        return self.n_ok / self.elapsed_s

    def longest_gap_s(self) -> float:
        """Return the longest time without a successful call."""
        times = sorted(self.ok_times)
        return max((b - a for a, b in itertools.pairwise(times)), default=float("inf"))


class Clients:
    """Threads that call Recommend on connections of their own and check the responses."""

    def __init__(
        self,
        versions: Versions,
        make_channel: Callable[[], grpc.Channel],
        n_clients: int = 16,
        rate: float = 0.0,
        timeout_s: float = 10.0,
        check: Callable[[Versions, recommender_pb2.RecommendResponse, int], str] | None = None,
    ) -> None:
        """`rate` is in calls per second of all clients together; 0: as fast as they get responses."""
        self.outcome = Outcome()
        self._versions = versions
        self._make_channel = make_channel
        self._pause = n_clients / rate if rate else 0.0
        self._timeout_s = timeout_s
        self._check = check or check_recommendation
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(n_clients)]

    def __enter__(self) -> Clients:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self.outcome.elapsed_s = time.monotonic() - self._started

    def _run(self, number: int) -> None:
        random = np.random.default_rng([SEED, number])
        outcome = Outcome()
        with self._make_channel() as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            due = time.monotonic() + random.random() * self._pause
            while not self._stopping.is_set():
                if self._pause:
                    time.sleep(max(0.0, due - time.monotonic()))
                    due += self._pause
                self._call(stub, int(random.integers(len(self._versions.user_ids))), outcome)
        with self._lock:
            _merge(self.outcome, outcome)

    def _call(self, stub: recommender_pb2_grpc.RecommenderServiceStub, user: int, outcome: Outcome) -> None:
        request = recommender_pb2.RecommendRequest(
            user=recommender_pb2.User(user_id=self._versions.user_ids[user]), page_size=PAGE_SIZE
        )
        started = time.monotonic()
        try:
            response = stub.Recommend(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            outcome.codes[error.code().name] += 1
            outcome.failed_times.append(time.monotonic())
            outcome.errors.append(f"{error.code().name}: {error.details()}")
            return
        ended = time.monotonic()
        outcome.codes["OK"] += 1
        outcome.seconds.append(ended - started)
        outcome.ok_times.append(ended)
        outcome.versions[response.model.version] += 1
        problem = self._check(self._versions, response, user)
        if problem:
            outcome.wrong.append(problem)


def check_recommendation(versions: Versions, response: recommender_pb2.RecommendResponse, user: int) -> str:
    """Return how a response differs from that of the version that it names; empty if it does not."""
    variant = versions.variant_of(response.model.version)
    found = [result.item_id for result in response.results]
    expected = versions.recommended[variant][user]
    if found != expected:
        return f"version {response.model.version}: {found}, not {expected}"
    rows = [versions.item_ids.index(item_id) for item_id in found]
    ratings = [result.predicted_rating for result in response.results]
    if not np.allclose(ratings, versions.ratings[variant][user, rows], atol=1e-4):
        return f"version {response.model.version}: ratings {ratings}"
    return ""


def _merge(total: Outcome, outcome: Outcome) -> None:
    total.codes += outcome.codes
    total.wrong += outcome.wrong
    total.versions += outcome.versions
    total.seconds += outcome.seconds
    total.ok_times += outcome.ok_times
    total.failed_times += outcome.failed_times
    total.errors += outcome.errors
