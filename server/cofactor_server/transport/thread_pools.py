"""Thread pools that know how many calls they hold, so that a call too many is refused before it is queued."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any

from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.transport import early_bodies as bodies

_LOGGER = logging.getLogger(__name__)

# Bodies of the calls that run and wait, together: a queue of the largest messages would be more than a server has. One
# alone may be larger.
MOST_HELD_BYTES = 128 * 2**20


class _Unwatched(Future[None]):
    """What submit() returns. gRPC does nothing with it but count calls for a limit that this server does not use."""

    def add_done_callback(self, fn: Callable[[Future[None]], object]) -> None:
        """Nobody is told."""


_UNWATCHED = _Unwatched()


class BoundedPool(ThreadPoolExecutor):
    """A thread pool with a limit of calls, running and waiting together.

    The limit is not enforced by submit(): gRPC has no way to answer a call whose submission fails. The interceptor asks
    `is_full` first, in the same thread that submits.

    It is a ThreadPoolExecutor because gRPC takes nothing else. Its own submit() makes no future, which takes 2
    microseconds of processor time a call instead of 7.
    """

    def __init__(self, name: str, threads: int, max_waiting: int = 0) -> None:
        super().__init__(max_workers=threads, thread_name_prefix=name)
        self._name = name
        self._most_threads = threads
        self._limit = threads + max_waiting
        self._busy_from = min((threads + 1) // 2, 4 * len(os.sched_getaffinity(0)))
        self._held = 0
        self._held_bytes = 0
        self._running: list[threading.Thread] = []
        self._counting = threading.Lock()
        self._calls: SimpleQueue[tuple[float, int, Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()

    @property
    def is_full(self) -> bool:
        """Whether as many calls run and wait as may."""
        return self._held >= self._limit

    @property
    def is_busy(self) -> bool:
        """Whether calls take more than half of the threads, or four for each core: no time for what can be left."""
        return self._held > self._busy_from

    @property
    def n_held(self) -> int:
        """Calls that run or wait."""
        return self._held

    @property
    def n_waiting(self) -> int:
        """Calls that have no thread yet."""
        return self._calls.qsize()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_kwargs: Any) -> Future[Any]:
        """Queues a call, once its body is there, and starts a thread for it while there are fewer than calls."""
        if bodies.comes_in_one_message(args):
            bodies.receive(args, self._refusal_now, partial(self._received, fn))
        else:
            self._queue(fn, args, 0)
        return _UNWATCHED

    def _refusal_now(self, behavior: Any, n_bytes: int) -> Any:
        """What is to answer in the place of `behavior` to a body of so many bytes; None while there is room."""
        has_room = self._held_bytes == 0 or self._held_bytes + n_bytes <= MOST_HELD_BYTES
        return None if has_room and not self.is_full else getattr(behavior, "refusal", None)

    def _received(self, fn: Callable[..., Any], args: tuple[Any, ...], n_bytes: int, refusal: Any) -> None:
        """Queues a call whose body has come, or what refuses it."""
        if refusal is None:
            self._queue(fn, args, n_bytes)
        else:
            refusal.experimental_thread_pool._queue(fn, args, 0)

    def _queue(self, fn: Callable[..., Any], args: tuple[Any, ...], n_bytes: int) -> None:
        with self._counting:
            self._held += 1
            self._held_bytes += n_bytes
            needs_thread = len(self._running) < min(self._held, self._most_threads)
            if needs_thread:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._running)}", daemon=True)
                self._running.append(thread)
        if needs_thread:
            thread.start()
        self._calls.put((time.perf_counter(), n_bytes, fn, args))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the threads once they have done what was queued; nothing is submitted after this."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        for _ in self._running:
            self._calls.put(None)
        if wait:
            for thread in self._running:
                thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            arrived, n_bytes, fn, args = call
            CALL_TIMING.arrived = arrived
            CALL_TIMING.queue_s = time.perf_counter() - arrived
            CALL_TIMING.compute_s = 0.0
            CALL_TIMING.batch_size = 0
            try:
                fn(*args)
            except Exception:  # gRPC handles what handlers raise; this is a bug in one of the two
                _LOGGER.exception("a call was not answered")
            finally:
                with self._counting:
                    self._held -= 1
                    self._held_bytes -= n_bytes
            del call, fn, args  # or the thread would keep the last call's messages until its next
