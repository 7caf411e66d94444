"""A flag that a signal raises, safely."""

from __future__ import annotations

import contextlib
import os
import select
import signal


class StopSignal:
    """Raised by the signals given, or by set(). To be made in the main thread.

    threading.Event is not for this: a handler that calls set() while the main thread is inside wait() deadlocks, and a
    signal that the kernel gives to another thread does not wake the main one. A pipe does neither.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        for number in numbers:
            signal.signal(number, lambda _number, _frame: self.set())
        signal.set_wakeup_fd(self._writer)

    def set(self) -> None:
        """Raises the flag, from any thread or handler; it stays up."""
        with contextlib.suppress(BlockingIOError):  # a full pipe is a raised flag
            os.write(self._writer, b"\0")

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the flag is up, at most `timeout` seconds; returns whether it is."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
