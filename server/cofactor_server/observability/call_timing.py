"""Measure where the time of each call goes. Times are recorded where they are spent and read by the interceptor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class CallTiming(threading.local):
    """Times of the call that the current thread handles, in seconds.

    Attributes:
        arrived: when the call was queued, by time.perf_counter().
        queue_s: how long it waited for a thread.
        compute_s: how long it ran the engine. A run for several calls counts for the call whose thread ran it.
        batch_size: number of calls in that run; 0 if this thread ran none, or if calls are not batched.
    """

    arrived = 0.0
    queue_s = 0.0
    compute_s = 0.0
    batch_size = 0


CALL_TIMING = CallTiming()


class Session(Protocol):
    """ONNX session, or something that wraps one."""

    @property
    def run(self) -> Callable[..., list[Any]]:
        """Method that takes output names, inputs by name and, optionally, RunOptions, and returns the outputs."""


class TimedSession:
    """ONNX session that adds the duration of its runs to the compute time of the current call."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.run

    def run(self, outputs: Sequence[str], inputs: Mapping[str, object], *options: object) -> list[Any]:
        """Run the graph -> its outputs, arrays whose element types the graph decides.

        options: nothing, or onnxruntime's RunOptions.
        """
        started = time.perf_counter()
        try:
            return self._run(outputs, inputs, *options)
        finally:
            CALL_TIMING.compute_s += time.perf_counter() - started
