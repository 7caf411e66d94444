"""Coalesce the unary calls of a method: the first thread to run answers every call whose body has arrived.

On a small catalogue a call is so cheap that handing it to a batching thread costs more than the batch saves. But a call
whose body has arrived already has a thread on its way. The first of these threads takes all calls that are there, runs
them as one batch, and the other threads find their responses ready. No call waits for others to arrive
(docs/decisions/0007).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cofactor_server.errors import RequestError
from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.scheduling import let_others_run

_LOGGER = logging.getLogger(__name__)

MAX_COALESCED = 64


class CoalescedMethod(Protocol):
    """Method of a servicer that can answer several requests together."""

    def should_coalesce(self) -> bool:
        """Return True if coalescing pays at this moment."""

    def answer_batch(self, requests: Sequence[Any]) -> Sequence[bytes | Exception]:
        """Return an encoded response or an error for every request."""


class PendingCall:
    """Call whose body has arrived.

    Attributes:
        body: the encoded request.
        is_dispatched: True once a thread has taken the call, its own thread or another one.
        is_done: True once that thread has finished.
        outcome: the encoded response or the error to raise; None if the call's own thread has to run it alone.
        waiter: lock that the call's own thread waits for while another thread runs the batch.
        compute_s: seconds that the batch spent in the engine.
    """

    __slots__ = ("body", "compute_s", "is_dispatched", "is_done", "outcome", "waiter")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.is_dispatched = False
        self.is_done = False
        self.outcome: bytes | Exception | None = None
        self.waiter: threading.Lock | None = None
        self.compute_s = 0.0


class CoalescingQueue:
    """Queue of the calls of one method that have arrived and wait for their threads.

    Args:
        parse: decodes a body; raises the error to report to the caller.
        method: answers several requests.
    """

    def __init__(self, parse: Callable[[bytes], Any], method: CoalescedMethod) -> None:
        self._parse = parse
        self._method = method
        self._lock = threading.Lock()
        self._waiting: deque[PendingCall] = deque()

    def add(self, body: bytes) -> PendingCall:
        """Queue a call; runs in gRPC's polling thread, just before the call's own thread is woken.

        If the call is cancelled before its thread runs, that thread never asks for the response. The next batch then
        runs the call for nothing. Without coalescing there is no next batch, so the call must not be queued.
        """
        call = PendingCall(body)
        if self._method.should_coalesce():
            self._waiting.append(call)
        else:
            call.is_dispatched = call.is_done = True
        return call

    def remove(self, call: PendingCall) -> bool:
        """Take a call out of the queue; return False if a thread has taken it already."""
        with self._lock:
            if call.is_dispatched:
                return False
            call.is_dispatched = True
            self._waiting.remove(call)
            return True

    def get_response(self, call: PendingCall) -> bytes | None:
        """Return the encoded response to a call; runs in the call's own thread.

        Returns None if the call's thread has to run the call alone. Raises the error to report to the caller.
        """
        if not call.is_done and not self._is_done_by_batch(call):
            return None
        CALL_TIMING.compute_s = call.compute_s
        if isinstance(call.outcome, Exception):
            raise call.outcome
        return call.outcome

    def _is_done_by_batch(self, call: PendingCall) -> bool:
        """Wait until a batch has run the call, in this thread or another; return False if no other call is there."""
        if not call.is_dispatched:
            let_others_run()  # gRPC then reads the calls that have arrived on its connections
        while not call.is_dispatched:
            batch = self._take_batch()
            if len(batch) == 1 and batch[0] is call:
                return False
            if batch:
                self._run(batch)
        self._wait_until_done(call)
        return True

    def _take_batch(self) -> list[PendingCall]:
        waiting = self._waiting
        with self._lock:
            batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_COALESCED))]
            for call in batch:
                call.is_dispatched = True
        return batch

    def _run(self, batch: list[PendingCall]) -> None:
        """Run a batch and set the outcome of its calls.

        If the batch fails, the outcomes stay None: every call then runs alone, and only the one at fault fails.
        """
        CALL_TIMING.batch_size = len(batch)
        outcomes: Sequence[bytes | Exception | None] = [None] * len(batch)
        try:
            outcomes = self._outcomes([call.body for call in batch])
        except Exception:
            _LOGGER.exception("a batch of %d calls failed; its calls are run one by one", len(batch))
        finally:
            waiters = []
            with self._lock:
                for call, outcome in zip(batch, outcomes, strict=True):
                    call.outcome, call.compute_s, call.is_done = outcome, CALL_TIMING.compute_s, True
                    if call.waiter is not None:
                        waiters.append(call.waiter)
            for waiter in waiters:
                waiter.release()

    def _outcomes(self, bodies: Sequence[bytes]) -> Sequence[bytes | Exception]:
        malformed: dict[int, Exception] = {}
        requests = []
        for position, body in enumerate(bodies):
            try:
                requests.append(self._parse(body))
            except RequestError as error:
                malformed[position] = error.with_traceback(None)
        outcomes = iter(self._method.answer_batch(requests))
        return [malformed[position] if position in malformed else next(outcomes) for position in range(len(bodies))]

    def _wait_until_done(self, call: PendingCall) -> None:
        with self._lock:
            if call.is_done:
                return
            waiter = call.waiter = threading.Lock()
            waiter.acquire()
        waiter.acquire()
