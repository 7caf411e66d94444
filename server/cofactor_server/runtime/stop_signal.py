"""Wait for the signal to stop."""

from __future__ import annotations

import contextlib
import os
import select
import signal


class StopSignal:
    """Flag that is set by signals or by set(). Create it in the main thread.

    threading.Event does not work here: a signal handler that calls set() while the main thread is inside wait()
    deadlocks, and a signal that the kernel delivers to another thread does not wake the main thread. A pipe has neither
    problem.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        for number in numbers:
            signal.signal(number, lambda _number, _frame: self.set())
        signal.set_wakeup_fd(self._writer)

    def set(self) -> None:
        """Set the flag for good; safe in every thread and signal handler."""
        with contextlib.suppress(BlockingIOError):  # if the pipe is full, the flag is set already
            os.write(self._writer, b"\0")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds until the flag is set; return True if it is."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
