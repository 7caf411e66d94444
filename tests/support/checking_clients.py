"""Clients that call without end and check every answer."""

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
    """A channel of its own connection, with the service config of the shipped client or parts of it."""
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
    """What the clients saw.

    codes: how often each gRPC code. wrong: answers that are not those of the version they claim. versions: how often
    each version answered. seconds: latencies of answers that were OK. ok_times: when they came, by time.monotonic().
    failed_times: when the others did.
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
        """The longest time in which nobody got an answer."""
        times = sorted(self.ok_times)
        return max((b - a for a, b in itertools.pairwise(times)), default=float("inf"))


class Clients:
    """Threads, each with a connection of its own, that call as fast as they may and check what they get."""

    def __init__(
        self,
        versions: Versions,
        make_channel: Callable[[], grpc.Channel],
        n_clients: int = 16,
        rate: float = 0.0,
        timeout_s: float = 10.0,
        check: Callable[[Versions, recommender_pb2.RecommendResponse, int], str] | None = None,
    ) -> None:
        """`rate` in calls per second over all clients; 0: as fast as they get answers."""
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
        mine = Outcome()
        with self._make_channel() as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            due = time.monotonic() + random.random() * self._pause
            while not self._stopping.is_set():
                if self._pause:
                    time.sleep(max(0.0, due - time.monotonic()))
                    due += self._pause
                self._call(stub, int(random.integers(len(self._versions.user_ids))), mine)
        with self._lock:
            _merge(self.outcome, mine)

    def _call(self, stub: recommender_pb2_grpc.RecommenderServiceStub, user: int, mine: Outcome) -> None:
        request = recommender_pb2.RecommendRequest(
            user=recommender_pb2.User(user_id=self._versions.user_ids[user]), page_size=PAGE_SIZE
        )
        started = time.monotonic()
        try:
            response = stub.Recommend(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            mine.codes[error.code().name] += 1
            mine.failed_times.append(time.monotonic())
            mine.errors.append(f"{error.code().name}: {error.details()}")
            return
        ended = time.monotonic()
        mine.codes["OK"] += 1
        mine.seconds.append(ended - started)
        mine.ok_times.append(ended)
        mine.versions[response.model.version] += 1
        problem = self._check(self._versions, response, user)
        if problem:
            mine.wrong.append(problem)


def check_recommendation(versions: Versions, response: recommender_pb2.RecommendResponse, user: int) -> str:
    """Why an answer is not that of the version it claims; empty when it is."""
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


def _merge(all_of_them: Outcome, one: Outcome) -> None:
    all_of_them.codes += one.codes
    all_of_them.wrong += one.wrong
    all_of_them.versions += one.versions
    all_of_them.seconds += one.seconds
    all_of_them.ok_times += one.ok_times
    all_of_them.failed_times += one.failed_times
    all_of_them.errors += one.errors
