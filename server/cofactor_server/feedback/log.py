"""Write the feedback log: one thread commits the events of all calls that wait, and the served lists, together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path

from cofactor_server.config import ServerConfig
from cofactor_server.errors import FeedbackLogUnavailable, FeedbackQueueFull
from cofactor_server.feedback.rows import EventRow, ServedList
from cofactor_server.feedback.storage import Storage, StorageError
from cofactor_server.observability.counters import Metrics
from cofactor_server.repository.erasure_records import ErasureStore

_LOGGER = logging.getLogger(__name__)

EVENTS, LISTS = "cofactor_feedback_events", "cofactor_feedback_lists"
# Events that wait to be written. More would be refused, and wait with their callers.
MOST_WAITING_EVENTS = 50_000
# Served lists that wait, and the bytes of their responses. Further ones are dropped: Recommend never waits for the log.
MOST_WAITING_LISTS = 10_000
MOST_WAITING_LIST_BYTES = 32 * 2**20
# A commit may wait this long for a disk that hangs; its callers then get UNAVAILABLE.
LONGEST_WAIT_S = 20.0
RETRY_AFTER_S = 0.5
# Lists are written this often, unless events take them along earlier; so often the writer also looks for erasures.
_TICK_S = 0.2
_LISTS_PER_COMMIT = 1000
_PRUNING_INTERVAL_S = 3600.0
# Looking for the rows of erased users reads the whole log, so a failure is followed by a pause.
_ERASURE_PAUSE_S = 5.0
_LONGEST_ERASURE_S = 60.0


@dataclass(slots=True, eq=False)
class _Submission:
    """The events of one call. The result is the number of them that the log did not have."""

    rows: Sequence[EventRow]
    result: Future[int] = field(default_factory=Future)


class FeedbackLog:
    """A feedback log that calls record events in.

    Its one thread writes. While a commit waits for the disk, calls queue up, and the next commit takes all of them.

    Args:
        path: the SQLite file.
        erasures: erased users, whose rows are removed and not taken any more.
        retention_days: days after which rows are removed, 0 for never.
        most_calls: calls that may wait; further ones are refused, so that some threads are left for other methods.
        metrics: counts the events and lists.

    Raises ConfigurationError if the file can never be written. If it cannot at the moment, such as on a full disk, the
    log refuses events until it can.
    """

    def __init__(
        self, path: Path, erasures: ErasureStore, retention_days: int, most_calls: int, metrics: Metrics
    ) -> None:
        self._storage = Storage(path, erasures, retention_days)
        self._most_calls = most_calls
        self._metrics = metrics
        self._changed = threading.Condition()
        self._submissions: list[_Submission] = []
        self._n_events = self._n_calls = 0
        self._lists: list[ServedList] = []
        self._list_bytes = 0
        self._erasure_waits: list[Future[None]] = []
        self._is_closing = False
        self._failure = ""
        self._next_pruning = self._next_erasure = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="feedback-log", daemon=True)
        self._thread.start()

    def record(self, rows: Sequence[EventRow]) -> int:
        """Record events; return how many the log did not have, once they are on the disk.

        Raises FeedbackQueueFull, or FeedbackLogUnavailable if they cannot be written.
        """
        submission = _Submission(rows)
        with self._changed:
            self._check_open()
            if self._n_calls >= self._most_calls or self._n_events + len(rows) > max(len(rows), MOST_WAITING_EVENTS):
                self._metrics.count(EVENTS, "refused", len(rows))
                raise FeedbackQueueFull(RETRY_AFTER_S)
            self._n_calls += 1
            self._n_events += len(rows)
            self._submissions.append(submission)
            self._changed.notify()
        try:
            return submission.result.result(LONGEST_WAIT_S)
        except FutureTimeoutError:
            raise FeedbackLogUnavailable(f"its disk has not answered for {LONGEST_WAIT_S:g} s") from None
        finally:
            with self._changed:
                self._n_calls -= 1
                self._n_events -= len(rows)

    def offer(self, served: ServedList) -> None:
        """Queue a served list, or drop it if too many wait. Never waits for the disk."""
        size = len(served.response)
        with self._changed:
            is_full = len(self._lists) >= MOST_WAITING_LISTS or self._list_bytes + size > MOST_WAITING_LIST_BYTES
            if not is_full and not self._is_closing:
                self._lists.append(served)
                self._list_bytes += size
                return
        self._metrics.count(LISTS, "dropped")

    def apply_erasures(self) -> None:
        """Remove the rows of users who were erased, and return once they are gone. Raises FeedbackLogUnavailable."""
        done: Future[None] = Future()
        with self._changed:
            self._check_open()
            self._erasure_waits.append(done)
            self._changed.notify()
        try:
            done.result(_LONGEST_ERASURE_S)
        except FutureTimeoutError:
            raise FeedbackLogUnavailable(f"removing rows takes longer than {_LONGEST_ERASURE_S:g} s") from None

    def close(self) -> None:
        """Write what waits, and close the file."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._storage.close()

    def _check_open(self) -> None:
        if self._is_closing:
            raise FeedbackLogUnavailable("the server is shutting down")

    def _run(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(self._has_urgent_work, _TICK_S)
                submissions, self._submissions = self._submissions, []
                lists, self._lists = self._lists[:_LISTS_PER_COMMIT], self._lists[_LISTS_PER_COMMIT:]
                self._list_bytes -= sum(len(served.response) for served in lists)
                erasure_waits, self._erasure_waits = self._erasure_waits, []
                is_last = self._is_closing and not self._lists
            try:
                self._work(submissions, lists, erasure_waits)
            except Exception as error:  # a bug: the callers must not wait for it, and the next commit may succeed
                _LOGGER.exception("the feedback log failed")
                _fail([*[submission.result for submission in submissions], *erasure_waits], error)

    def _has_urgent_work(self) -> bool:
        return bool(self._submissions or self._erasure_waits or self._is_closing)

    def _work(self, submissions: list[_Submission], lists: list[ServedList], erasure_waits: list[Future[None]]) -> None:
        if erasure_waits or time.monotonic() >= self._next_erasure:
            self._erase(erasure_waits)
        if submissions or lists:
            self._commit(submissions, lists)
        if time.monotonic() >= self._next_pruning:
            self._prune()

    def _erase(self, erasure_waits: list[Future[None]]) -> None:
        try:
            self._storage.apply_erasures()
        except StorageError as error:
            self._report(error)
            self._next_erasure = time.monotonic() + _ERASURE_PAUSE_S
            _fail(erasure_waits, FeedbackLogUnavailable(str(error)))
            return
        for done in erasure_waits:
            done.set_result(None)

    def _commit(self, submissions: list[_Submission], lists: list[ServedList]) -> None:
        """Write events and lists in one commit. If that fails, try the events alone: they matter more."""
        batches = [submission.rows for submission in submissions]
        try:
            try:
                n_new, n_lists = self._storage.write(batches, [served.row() for served in lists]), len(lists)
            except StorageError:
                if not (submissions and lists):
                    raise
                n_new, n_lists = self._storage.write(batches, []), 0
        except StorageError as error:
            self._report(error)
            self._metrics.count(EVENTS, "failed", sum(map(len, batches)))
            self._metrics.count(LISTS, "dropped", len(lists))
            _fail([submission.result for submission in submissions], FeedbackLogUnavailable(str(error)))
            return
        self._report(None)
        for submission, count in zip(submissions, n_new, strict=True):
            self._metrics.count(EVENTS, "recorded", count)
            self._metrics.count(EVENTS, "duplicate", len(submission.rows) - count)
            submission.result.set_result(count)
        self._metrics.count(LISTS, "recorded", n_lists)
        self._metrics.count(LISTS, "dropped", len(lists) - n_lists)

    def _prune(self) -> None:
        """Remove some rows that are too old; go on at the next tick if there are more."""
        try:
            has_more = self._storage.prune()
        except StorageError as error:
            self._report(error)
            has_more = False
        if not has_more:
            self._next_pruning = time.monotonic() + _PRUNING_INTERVAL_S

    def _report(self, error: StorageError | None) -> None:
        """Log a failure once, and its end."""
        failure = str(error or "")
        if failure != self._failure:
            if failure:
                _LOGGER.error("the feedback log cannot be written: %s; recommendations go on", failure)
            else:
                _LOGGER.info("the feedback log is written again")
        self._failure = failure


def _fail(waiting: Sequence[Future[int] | Future[None]], error: Exception) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(error)


def open_feedback_log(config: ServerConfig, erasures: ErasureStore, metrics: Metrics) -> FeedbackLog | None:
    """Open the feedback log of the settings; return None if they name none. Raises ConfigurationError."""
    if not config.feedback_log:
        return None
    most_calls = max(1, config.threads // 2)
    return FeedbackLog(Path(config.feedback_log), erasures, config.feedback_retention_days, most_calls, metrics)
