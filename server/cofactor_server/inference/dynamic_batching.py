"""Joins the calls that wait for the engine into one run, without a timer."""

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
from cofactor_server.ranking.ranker import Ranking, TopK, TopKQuery, UserVector
from cofactor_server.scheduling import let_others_run

_LOGGER = logging.getLogger(__name__)

# What handing a call from thread to thread costs: a batched server of a small catalogue answered 3,720 requests/s where
# a direct one answered 5,370, on one core.
HANDOVER_S = 100e-6
_TRIAL_BATCH = 8
_TRIALS = 5


@dataclass(slots=True, eq=False)
class _Entry:
    """A query that may wait; `batch` is set when its thread is to run that batch, its own query included."""

    query: TopKQuery
    answer: Ranking | None = None
    error: BaseException | None = None
    is_taken: bool = False
    batch: list[_Entry] | None = None
    woken: threading.Lock = field(default_factory=threading.Lock)


class BatchedTopK:
    """Runs a call at once while an engine slot is free, with those that came at the same time; otherwise it waits.

    The thread that ends a run hands everything that waits by then, up to max_batch_size, to the first that waits,
    as the next run: no thread of its own, and no delay for a lone caller. Queries that nobody waits for any
    more are not run.
    """

    def __init__(self, direct: TopK, max_batch_size: int, n_slots: int) -> None:
        self._direct = direct
        self._max_batch_size = max_batch_size
        self._free_slots = n_slots
        self._lock = threading.Lock()
        self._waiting: deque[_Entry] = deque()

    def one(self, query: TopKQuery) -> Ranking:
        """The answer to one query; raises DeadlineExceeded when its caller gave up before it ran."""
        entry = _Entry(query)
        entry.woken.acquire()
        self._waiting.append(entry)
        # A run would keep the threads of other calls from the processor, and each would then run alone.
        let_others_run()
        with self._lock:
            if not entry.is_taken and self._free_slots > 0:
                self._free_slots -= 1
                entry.batch = self._take()
        while entry.answer is None and entry.error is None:
            if entry.batch is None:
                entry.woken.acquire()  # until another thread answers this entry or hands it a batch
            else:
                batch, entry.batch = entry.batch, None
                self._run(entry, batch)  # its own query is in it, unless too many were before it
        if entry.error is not None:
            raise entry.error
        assert entry.answer is not None
        return entry.answer

    def many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """Several queries of one caller: already a batch."""
        return self._direct.many(queries)

    def _take(self) -> list[_Entry]:
        """The next run, out of those that wait; the lock is held."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch_size))]
        for entry in batch:
            entry.is_taken = True
        return batch

    def _run(self, own: _Entry, batch: list[_Entry]) -> None:
        try:
            self._answer([entry for entry in batch if self._is_wanted(entry)])
        finally:
            for entry in batch:
                if entry is not own:
                    entry.woken.release()
            let_others_run()
            self._pass_on()

    def _pass_on(self) -> None:
        """Hands the slot to the first that waits, with those behind it."""
        with self._lock:
            batch = self._take()
            if not batch:
                self._free_slots += 1
        if batch:
            batch[0].batch = batch
            batch[0].woken.release()

    @staticmethod
    def _is_wanted(entry: _Entry) -> bool:
        if entry.query.is_wanted():
            return True
        entry.error = DeadlineExceeded()
        return False

    def _answer(self, batch: list[_Entry]) -> None:
        """Gives every entry its answer or its error; when a common run fails, each is run alone to see whose fault."""
        CALL_TIMING.batch_size = len(batch)
        if len(batch) > 1:
            try:
                for entry, answer in zip(batch, self._direct.many([e.query for e in batch]), strict=True):
                    entry.answer = answer
                return
            except Exception:
                _LOGGER.exception("a batch of %d failed; running its queries one by one", len(batch))
        for entry in batch:
            try:
                entry.answer = self._direct.one(entry.query)
            except Exception as error:
                entry.error = error


def batching_pays(direct: TopK, n_factors: int, k: int = 10) -> bool:
    """Whether a joint run saves each call more than a hand-over between threads costs, measured on this machine."""
    user = UserVector(np.zeros((1, n_factors), dtype=np.float32), np.zeros(1, dtype=np.float32))
    query = TopKQuery(user, 0.0, NO_ROWS, k)
    alone = min(_seconds(direct, [query]) for _ in range(_TRIALS))
    together = min(_seconds(direct, [query] * _TRIAL_BATCH) for _ in range(_TRIALS)) / _TRIAL_BATCH
    return alone - together > HANDOVER_S


def _seconds(direct: TopK, queries: list[TopKQuery]) -> float:
    started = time.perf_counter()
    direct.many(queries)
    return time.perf_counter() - started
