"""Dynamic batching: calls that find the engine busy wait, and the next run of the engine serves all of them.

It applies to unary Recommend calls of versions with long runs: large catalogues, and CUDA. There, a shared run saves
each call more than waking another thread costs. batching_pays() measures that when a version is loaded; --batching on
or off decides without measuring. For versions with short runs, transport/request_coalescing.py coalesces the calls
instead, before they have a thread. The two are never on at the same time, and both end in CatalogueTopK.find_many.

There is no timer and no thread of its own: a call on an idle server runs at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cofactor_server.arrays import NO_ROWS
from cofactor_server.errors import DeadlineExceeded
from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.ranking.orders import BY_RATING, Order
from cofactor_server.ranking.ranker import Ranking, TopK, TopKQuery, UserVector
from cofactor_server.scheduling import let_others_run

_LOGGER = logging.getLogger(__name__)

# Cost of handing a call from one thread to another. Measured for a small catalogue on one core: 3,720 requests/s with
# dynamic batching, 5,370 without.
HANDOVER_S = 100e-6
_TRIAL_BATCH = 8
_TRIALS = 5


@dataclass(slots=True, eq=False)
class _PendingQuery:
    """A query and its outcome.

    Attributes:
        is_dispatched: True once the query is in a batch.
        batch: the batch that this query's own thread has to run, which may not contain the query itself.
        wakeup: released when the outcome or a batch has been set.
    """

    query: TopKQuery
    ranking: Ranking | None = None
    error: BaseException | None = None
    is_dispatched: bool = False
    batch: list[_PendingQuery] | None = None
    wakeup: threading.Lock = field(default_factory=threading.Lock)


class DynamicBatcher:
    """Runs queries at once while fewer than `n_slots` runs are in progress, and makes the others wait.

    The thread that ends a run takes the queries that are waiting by then, up to max_batch_size, and hands them to the
    first of their threads as the next run. Queries whose callers have cancelled are not run.
    """

    def __init__(self, top_k: TopK, max_batch_size: int, n_slots: int) -> None:
        self._top_k = top_k
        self._max_batch_size = max_batch_size
        self._free_slots = n_slots
        self._lock = threading.Lock()
        self._waiting: deque[_PendingQuery] = deque()

    def find(self, query: TopKQuery) -> Ranking:
        """Return the ranking for one query. Raises DeadlineExceeded if its caller gave up before it ran."""
        own = _PendingQuery(query)
        own.wakeup.acquire()
        self._waiting.append(own)
        # Let other calls arrive first. Otherwise this run would keep their threads from the processor, and each call
        # would run alone.
        let_others_run()
        with self._lock:
            if not own.is_dispatched and self._free_slots > 0:
                self._free_slots -= 1
                own.batch = self._take_batch()
        while own.ranking is None and own.error is None:
            if own.batch is None:
                own.wakeup.acquire()  # until another thread sets the outcome or a batch
            else:
                batch, own.batch = own.batch, None
                self._run(own, batch)  # contains `own`, unless more than max_batch_size queries came before it
        if own.error is not None:
            raise own.error
        assert own.ranking is not None
        return own.ranking

    def find_many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """Return the ranking for each query. The queries of one caller are a batch already, so they do not wait."""
        return self._top_k.find_many(queries)

    def _take_batch(self) -> list[_PendingQuery]:
        """Take the waiting queries for the next run. The caller holds the lock."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch_size))]
        for pending in batch:
            pending.is_dispatched = True
        return batch

    def _run(self, own: _PendingQuery, batch: list[_PendingQuery]) -> None:
        try:
            self._set_outcomes([pending for pending in batch if self._is_active(pending)])
        finally:
            for pending in batch:
                if pending is not own:
                    pending.wakeup.release()
            let_others_run()
            self._pass_slot_on()

    def _pass_slot_on(self) -> None:
        """Hand the slot and the next batch to the first waiting query, or free the slot if none waits."""
        with self._lock:
            batch = self._take_batch()
            if not batch:
                self._free_slots += 1
        if batch:
            batch[0].batch = batch
            batch[0].wakeup.release()

    @staticmethod
    def _is_active(pending: _PendingQuery) -> bool:
        if pending.query.is_active():
            return True
        pending.error = DeadlineExceeded()
        return False

    def _set_outcomes(self, batch: list[_PendingQuery]) -> None:
        """Set the ranking or the error of every query. If the shared run fails, run the queries one by one."""
        CALL_TIMING.batch_size = len(batch)
        if len(batch) > 1:
            try:
                rankings = self._top_k.find_many([pending.query for pending in batch])
                for pending, ranking in zip(batch, rankings, strict=True):
                    pending.ranking = ranking
                return
            except Exception:
                _LOGGER.exception("a batch of %d failed; running its queries one by one", len(batch))
        for pending in batch:
            try:
                pending.ranking = self._top_k.find(pending.query)
            except Exception as error:
                pending.error = error


def batching_pays(top_k: TopK, n_factors: int, k: int = 10, order: Order = BY_RATING) -> bool:
    """Measure if a shared run saves each call more than a hand-over between threads costs on this machine."""
    user = UserVector(np.zeros((1, n_factors), dtype=np.float32), np.zeros(1, dtype=np.float32))
    query = TopKQuery(user, order, NO_ROWS, k)
    alone_s = min(_duration_s(top_k, [query]) for _ in range(_TRIALS))
    shared_s = min(_duration_s(top_k, [query] * _TRIAL_BATCH) for _ in range(_TRIALS)) / _TRIAL_BATCH
    return alone_s - shared_s > HANDOVER_S


def _duration_s(top_k: TopK, queries: list[TopKQuery]) -> float:
    started = time.perf_counter()
    top_k.find_many(queries)
    return time.perf_counter() - started
