"""Wait for the signal to stop, and handle the signals to reload."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable

# By default these end a process at once. Tools send them to make a server read its files again.
RELOAD_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def ignore_reload_signals() -> None:
    """Ignore the signals to reload in a process that does not serve yet."""
    for number in RELOAD_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopSignal:
    """Flag that is set by signals or by set(). Create it in the main thread.

    threading.Event does not work here: a signal handler that calls set() while the main thread is inside wait()
    deadlocks, and a signal that the kernel delivers to another thread does not wake the main thread. A pipe has neither
    problem: Python writes the number of every signal to it.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        """Set the flag at the signals `numbers`; wait() handles RELOAD_SIGNALS."""
        self._is_set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        for number in numbers:
            signal.signal(number, lambda _number, _frame: self.set())
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in RELOAD_SIGNALS:
            signal.signal(number, lambda _number, _frame: None)

    def set(self) -> None:
        """Set the flag for good; safe in every thread and signal handler."""
        self._is_set = True
        with contextlib.suppress(BlockingIOError):  # if the pipe is full, wait() wakes up anyway
            os.write(self._writer, b"\0")

    def wait(self, timeout: float | None = None, on_reload: Callable[[], None] = lambda: None) -> bool:
        """Wait at most `timeout` seconds until the flag is set; return True if it is.

        Call `on_reload` after signals to reload, also after those that came earlier.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while not self._is_set:
            if not poll.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000):
                return False
            received = os.read(self._reader, 4096)
            if not self._is_set and any(number in received for number in RELOAD_SIGNALS):
                on_reload()
        return True
