"""Run calls in thread pools that count their calls, so that a call over the limit is refused before it is queued."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.transport.incoming_bodies import IncomingBodies

_LOGGER = logging.getLogger(__name__)

# Limit of the request bodies in one pool, of running and waiting calls together: a queue full of the largest messages
# would need more memory than a server has. A single body may be larger.
MAX_BODY_BYTES = 128 * 2**20


class CallPool(Protocol):
    """Takes the calls of methods; BoundedPool runs them in threads."""

    @property
    def is_full(self) -> bool:
        """Return True if further calls are to be refused."""

    def has_room(self, n_body_bytes: int) -> bool:
        """Return True if one more call is welcome, with a body of this size."""

    def enqueue(self, fn: Callable[..., Any], args: tuple[Any, ...], n_body_bytes: int = 0) -> None:
        """Take a call: run fn(*args), now or later."""


class BoundedPool:
    """Thread pool with a limit on its calls, running and waiting together.

    enqueue() does not enforce the limit: the caller asks first, and refuses a call that the pool has no room for.
    """

    def __init__(self, name: str, max_threads: int, max_waiting: int = 0, max_body_bytes: int | None = None) -> None:
        """`max_body_bytes` limits the bodies of its calls together; None: MAX_BODY_BYTES."""
        self._name = name
        self._max_body_bytes = MAX_BODY_BYTES if max_body_bytes is None else max_body_bytes
        self._max_threads = max_threads
        self._max_calls = max_threads + max_waiting
        self._busy_above = min((max_threads + 1) // 2, 4 * len(os.sched_getaffinity(0)))
        self._n_calls = 0
        self._n_body_bytes = 0
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._queue: SimpleQueue[tuple[float, int, Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()

    @property
    def is_full(self) -> bool:
        """Return True if the pool has as many calls as it may have."""
        return self._n_calls >= self._max_calls

    @property
    def is_busy(self) -> bool:
        """Return True if calls take more than half of the threads, or more than four per core.

        A busy server skips work that it can do without.
        """
        return self._n_calls > self._busy_above

    @property
    def n_calls(self) -> int:
        """Return the number of calls that run or wait."""
        return self._n_calls

    @property
    def n_waiting(self) -> int:
        """Return the number of calls that wait for a thread."""
        return self._queue.qsize()

    def has_room(self, n_body_bytes: int) -> bool:
        """Return True if the pool may take one more call, with a body of this size."""
        fits = self._n_body_bytes == 0 or self._n_body_bytes + n_body_bytes <= self._max_body_bytes
        return fits and self._n_calls < self._max_calls

    def enqueue(self, fn: Callable[..., Any], args: tuple[Any, ...], n_body_bytes: int = 0) -> None:
        """Queue a call for the next free thread; start a thread while the pool has fewer threads than calls."""
        with self._lock:
            self._n_calls += 1
            self._n_body_bytes += n_body_bytes
            needs_thread = len(self._threads) < min(self._n_calls, self._max_threads)
            if needs_thread:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
        if needs_thread:
            thread.start()
        self._queue.put((time.perf_counter(), n_body_bytes, fn, args))

    def shutdown(self, wait: bool = True) -> None:
        """End the threads once they have run what is queued; nothing may be queued afterwards."""
        for _ in self._threads:
            self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            arrived, n_body_bytes, fn, args = call
            CALL_TIMING.arrived = arrived
            CALL_TIMING.queue_s = time.perf_counter() - arrived
            CALL_TIMING.compute_s = 0.0
            CALL_TIMING.batch_size = 0
            try:
                fn(*args)
            except Exception:  # gRPC handles the exceptions of handlers, so this is a bug in gRPC or in this server
                _LOGGER.exception("a call ended without a response")
            finally:
                with self._lock:
                    self._n_calls -= 1
                    self._n_body_bytes -= n_body_bytes
            del call, fn, args  # otherwise the thread would keep the messages of this call until the next one


@dataclass(frozen=True)
class ThreadPools:
    """Thread pools of one server: calls of one kind never take the threads of another kind.

    Attributes:
        calls: the API's methods with one response.
        streams: the API's methods with a stream of responses.
        control: health checks and reflection.
        watches: streams of the reflection service. Those of the health service need no threads (transport/health).
        refusals: refuses calls of the other pools when those are full.
        bodies: limits the bodies that are under way to all pools together.
    """

    calls: BoundedPool
    streams: BoundedPool
    control: BoundedPool
    watches: BoundedPool
    refusals: BoundedPool
    bodies: IncomingBodies

    def __iter__(self) -> Iterator[BoundedPool]:
        return iter((self.calls, self.streams, self.control, self.watches, self.refusals))

    def shutdown(self) -> None:
        """Let every pool end its threads; do not wait for them."""
        for pool in self:
            pool.shutdown(wait=False)
