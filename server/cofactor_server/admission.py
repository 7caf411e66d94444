"""Thread pools that know how many calls they hold, so that a call too many is refused before it is queued."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cofactor_server.timing import TIMING


class BoundedPool(ThreadPoolExecutor):
    """A thread pool with a limit of calls, running and waiting together.

    The limit is not enforced by submit(): gRPC has no way to answer a call whose submission fails. The interceptor asks
    `is_full` first, in the same thread that submits.
    """

    def __init__(self, name: str, threads: int, max_waiting: int = 0) -> None:
        super().__init__(max_workers=threads, thread_name_prefix=name)
        self._limit = threads + max_waiting
        self._held = 0
        self._counting = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether as many calls run and wait as may."""
        return self._held >= self._limit

    @property
    def n_waiting(self) -> int:
        """Calls that have no thread yet."""
        return self._work_queue.qsize()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queues a call."""
        with self._counting:
            self._held += 1
        return super().submit(self._run, time.perf_counter(), fn, args, kwargs)

    def _run(self, arrived: float, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        TIMING.arrived = arrived
        TIMING.queue_s = time.perf_counter() - arrived
        TIMING.compute_s = 0.0
        try:
            return fn(*args, **kwargs)
        finally:
            with self._counting:
                self._held -= 1
