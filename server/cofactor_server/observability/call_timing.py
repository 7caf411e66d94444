"""Where the time of the call goes that a thread answers: written where it is spent, read by the interceptor."""

from __future__ import annotations

import threading
import time
from typing import Any


class CallTiming(threading.local):
    """Seconds of one thread's call.

    Attributes:
        arrived: when the call was queued, by time.perf_counter().
        queue_s: how long it waited for the thread.
        compute_s: what it spent in the engine. A run for several calls counts for the one whose thread ran it.
        batch_size: for how many calls that run was; 0 where this thread ran none or calls are not joined.
    """

    arrived = 0.0
    queue_s = 0.0
    compute_s = 0.0
    batch_size = 0


TIMING = CallTiming()


class TimedSession:
    """An ONNX session whose runs count as the compute time of the thread's call."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._run = session.run

    def run(self, outputs: Any, inputs: Any, *options: Any) -> Any:
        """Run the graph; `options` is nothing, or onnxruntime's RunOptions."""
        started = time.perf_counter()
        try:
            return self._run(outputs, inputs, *options)
        finally:
            TIMING.compute_s += time.perf_counter() - started

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
