"""Joins the unary calls of a method that have arrived: the thread that comes first answers them all.

A call of a small catalogue costs little, and handing it from thread to thread costs more than joining saves. But once
its body has arrived its own thread is on its way: whoever comes first answers all that are there, and the others find
their answers. Nothing waits for company.
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
    """A method of a servicer that can answer several of its requests together."""

    def joins(self) -> bool:
        """Whether that pays at this moment."""

    def answer_each(self, requests: Sequence[Any]) -> Sequence[bytes | Exception]:
        """An encoded answer or an error for each."""


class PendingCall:
    """A call whose body has arrived.

    Attributes:
        body: the request as it came.
        is_taken: whether a thread answers it, its own or another's.
        is_done: whether that thread has finished.
        outcome: the answer or the error to raise; None where its own thread is to answer it by itself.
        waiter: held while its own thread waits for another's run.
        compute_s: what that run spent in the engine.
    """

    __slots__ = ("body", "compute_s", "is_done", "is_taken", "outcome", "waiter")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.is_taken = False
        self.is_done = False
        self.outcome: bytes | Exception | None = None
        self.waiter: threading.Lock | None = None
        self.compute_s = 0.0


class CoalescingQueue:
    """The calls of one method that have arrived and wait for their threads.

    Args:
        parse: a body to a request; raises what its caller is to be told.
        joint: answers several requests.
    """

    def __init__(self, parse: Callable[[bytes], Any], joint: CoalescedMethod) -> None:
        self._parse = parse
        self._joint = joint
        self._lock = threading.Lock()
        self._waiting: deque[PendingCall] = deque()

    def add(self, body: bytes) -> PendingCall:
        """Takes a body, in gRPC's polling thread, just before the call's own thread is woken.

        The thread of a call that is cancelled before its turn never comes. It is answered in vain, in the next run;
        where there is none, nothing may wait for it.
        """
        arrival = PendingCall(body)
        if self._joint.joins():
            self._waiting.append(arrival)
        else:
            arrival.is_taken = arrival.is_done = True
        return arrival

    def withdraw(self, own: PendingCall) -> bool:
        """Keeps a call from being answered by others; whether it was not too late for that."""
        with self._lock:
            if own.is_taken:
                return False
            own.is_taken = True
            self._waiting.remove(own)
            return True

    def answer(self, own: PendingCall) -> bytes | None:
        """The answer, out of a run for all that have arrived; None where the call's thread is to answer it by itself.

        Raises what the caller is to be told.
        """
        if not own.is_done and not self._joined(own):
            return None
        CALL_TIMING.compute_s = own.compute_s
        if isinstance(own.outcome, Exception):
            raise own.outcome
        return own.outcome

    def _joined(self, own: PendingCall) -> bool:
        """Whether the call is done, by this thread or another; not where it arrived alone."""
        if not own.is_taken:
            let_others_run()  # and gRPC take in what is there to be read
        while not own.is_taken:
            batch = self._take()
            if len(batch) == 1 and batch[0] is own:
                return False
            if batch:
                self._run(batch)
        self._await(own)
        return True

    def _take(self) -> list[PendingCall]:
        waiting = self._waiting
        with self._lock:
            batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_COALESCED))]
            for each in batch:
                each.is_taken = True
        return batch

    def _run(self, batch: list[PendingCall]) -> None:
        """Gives each its outcome; none when the run fails, so that each thread finds out whether it was its call."""
        CALL_TIMING.batch_size = len(batch)
        outcomes: Sequence[bytes | Exception | None] = [None] * len(batch)
        try:
            outcomes = self._outcomes([each.body for each in batch])
        except Exception:
            _LOGGER.exception("a run of %d calls failed; each is answered by itself", len(batch))
        finally:
            waiters = []
            with self._lock:
                for each, outcome in zip(batch, outcomes, strict=True):
                    each.outcome, each.compute_s, each.is_done = outcome, CALL_TIMING.compute_s, True
                    if each.waiter is not None:
                        waiters.append(each.waiter)
            for waiter in waiters:
                waiter.release()

    def _outcomes(self, bodies: Sequence[bytes]) -> Sequence[bytes | Exception]:
        refused: dict[int, Exception] = {}
        requests = []
        for position, body in enumerate(bodies):
            try:
                requests.append(self._parse(body))
            except RequestError as error:
                refused[position] = error.with_traceback(None)
        answers = iter(self._joint.answer_each(requests))
        return [refused[position] if position in refused else next(answers) for position in range(len(bodies))]

    def _await(self, own: PendingCall) -> None:
        """Returns once the thread that took the call has finished it."""
        with self._lock:
            if own.is_done:
                return
            waiter = own.waiter = threading.Lock()
            waiter.acquire()
        waiter.acquire()
