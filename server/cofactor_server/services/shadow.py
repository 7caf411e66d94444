"""Shadow traffic: run served requests on a second version too, and measure how far the two responses agree.

Callers never see the second response. One thread runs these requests behind a short queue, and drops them under load.
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
from cofactor_server.services.pagination import RequestedPage
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

# The queue absorbs a burst. If it is full, the server is busy, and shadows are dropped.
MOST_WAITING = 64

_LOGGER = logging.getLogger(__name__)

RankItems = Callable[[LoadedVersion, RecommendRequest], list[str]]


@dataclass(slots=True, eq=False)
class _ShadowRequest:
    """A served request and the version to run it on.

    Attributes:
        request: the request.
        response: the encoded response that its caller got.
        shadow: the version to compare with.
        rank: returns the ids of the items that a version recommends.
    """

    request: RecommendRequest
    response: bytes
    shadow: LoadedVersion
    rank: RankItems


class ShadowTraffic:
    """Run requests on shadow versions and record the overlap in the metrics; neither responses nor caches change."""

    def __init__(self, metrics: Metrics, is_busy: Callable[[], bool]) -> None:
        """While `is_busy()` returns True, requests are dropped."""
        self._metrics = metrics
        self._is_busy = is_busy
        self._queue: Queue[_ShadowRequest | None] = Queue(MOST_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._logged_failure = ""  # key of the version whose failure was logged last

    def offer(
        self,
        registry: ModelRegistry,
        page: RequestedPage,
        request: RecommendRequest,
        response: bytes,
        rank: RankItems,
    ) -> None:
        """Queue a served request for its user's shadow version, if it has one.

        Like a canary, a shadow gets only first pages of requests that leave the choice of the version to the server.
        """
        if page.offset or request.model.WhichOneof("choice"):
            return
        shadow = registry.shadow_of(page.version, request.user.user_id)
        if shadow is None:
            return
        if self._is_closed or self._is_busy():
            self._count(shadow, "dropped")
            return
        if self._thread is None:
            self._start()
        try:
            self._queue.put_nowait(_ShadowRequest(request, response, shadow, rank))
        except Full:
            self._count(shadow, "dropped")

    def close(self) -> None:
        """Stop the thread and drop the requests that wait."""
        self._is_closed = True
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
        while (entry := self._queue.get()) is not None:
            if self._is_closed or self._is_busy():
                self._count(entry.shadow, "dropped")
            else:
                self._compare(entry)
            del entry  # while this thread waits, it must not keep a replaced version in memory

    def _compare(self, entry: _ShadowRequest) -> None:
        shadow = entry.shadow
        started = time.perf_counter()
        try:
            shadow_ids = entry.rank(shadow, entry.request)
        except Exception as error:
            self._count(shadow, "failed")
            if self._logged_failure != shadow.key:  # log once per version: every request may fail
                self._logged_failure = shadow.key
                bug = None if isinstance(error, RequestError) else error
                _LOGGER.warning("shadow %s fails, the metrics count how often: %s", shadow.key, error, exc_info=bug)
            return
        seconds = time.perf_counter() - started
        served_ids = [result.item_id for result in RecommendResponse.FromString(entry.response).results]
        self._metrics.record_shadow(
            shadow.manifest.name, shadow.manifest.version, seconds, overlap(served_ids, shadow_ids)
        )

    def _count(self, shadow: LoadedVersion, outcome: str) -> None:
        self._metrics.count_shadow(shadow.manifest.name, shadow.manifest.version, outcome)


def overlap(served_ids: list[str], shadow_ids: list[str]) -> float:
    """Return overlap@k: the share of common items in the longer of two lists; 1 if both are empty."""
    longest = max(len(served_ids), len(shadow_ids))
    return len(set(served_ids) & set(shadow_ids)) / longest if longest else 1.0
