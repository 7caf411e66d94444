"""Shadow traffic: requests that were answered are run on a second version too, and the answers compared.

Nobody gets the second answer. One thread runs them, behind a short queue; under load they are the first to go.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Full, Queue

from cofactor.v1.recommender_pb2 import RecommendRequest, RecommendResponse
from cofactor_server.errors import RequestError
from cofactor_server.observability.counters import Metrics
from cofactor_server.services.pagination import Page
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

# The queue only spreads a burst: what waits longer has found a server that is busy.
MOST_WAITING = 64

_LOGGER = logging.getLogger(__name__)

Rank = Callable[[LoadedVersion, RecommendRequest], list[str]]


@dataclass(slots=True, eq=False)
class _Answered:
    """A request, the encoded answer that its caller got, and the version to try it with."""

    request: RecommendRequest
    answer: bytes
    shadow: LoadedVersion
    rank: Rank


class ShadowTraffic:
    """Runs requests again and counts how far the answers agree; touches neither answers nor what is kept of them."""

    def __init__(self, metrics: Metrics, is_busy: Callable[[], bool]) -> None:
        """While `is_busy()` requests are dropped."""
        self._metrics = metrics
        self._is_busy = is_busy
        self._queue: Queue[_Answered | None] = Queue(MOST_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._explained = ""

    def offer(
        self, repository: ModelRegistry, page: Page, request: RecommendRequest, answer: bytes, rank: Rank
    ) -> None:
        """Have an answered request tried with the shadow version of its user, where there is one.

        `rank` gives the ids of the items that a version recommends. As with canaries: only requests that leave the
        version to the server, and of those the first page.
        """
        if page.offset or request.model.WhichOneof("choice"):
            return
        shadow = repository.shadow_of(page.version, request.user.user_id)
        if shadow is None:
            return
        if self._is_busy():
            self._count(shadow, "dropped")
            return
        if self._thread is None:
            self._start()
        try:
            self._queue.put_nowait(_Answered(request, answer, shadow, rank))
        except Full:
            self._count(shadow, "dropped")

    def close(self) -> None:
        """End the thread; what waits is dropped."""
        self._is_busy = _always
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while (answered := self._queue.get()) is not None:
            if self._is_busy():
                self._count(answered.shadow, "dropped")
            else:
                self._try(answered)
            del answered  # or the thread would keep a version from being freed until its next request

    def _try(self, answered: _Answered) -> None:
        shadow = answered.shadow
        started = time.perf_counter()
        try:
            ranked = answered.rank(shadow, answered.request)
        except Exception as error:
            self._count(shadow, "failed")
            if self._explained != shadow.key:  # once for each version: it may be every request
                self._explained = shadow.key
                bug = None if isinstance(error, RequestError) else error
                _LOGGER.warning("shadow %s fails, the metrics count how often: %s", shadow.key, error, exc_info=bug)
            return
        seconds = time.perf_counter() - started
        answer = [result.item_id for result in RecommendResponse.FromString(answered.answer).results]
        self._metrics.record_shadow(shadow.manifest.name, shadow.manifest.version, seconds, overlap(answer, ranked))

    def _count(self, shadow: LoadedVersion, outcome: str) -> None:
        self._metrics.count_shadow(shadow.manifest.name, shadow.manifest.version, outcome)


def overlap(answer: list[str], ranked: list[str]) -> float:
    """overlap@k: the share of the items that both have, of the longer of the two; 1 where both are empty."""
    longest = max(len(answer), len(ranked))
    return len(set(answer) & set(ranked)) / longest if longest else 1.0


def _always() -> bool:
    return True
