"""Handle Ctrl-C: one line, exit code 130, and time to remove what is half written."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 130
# Ctrl-C that is pressed again this soon must not interrupt the removal of half-written files.
_GRACE_SECONDS = 2.0


@contextmanager
def exit_when_interrupted() -> Iterator[None]:
    """End the process with one line if Ctrl-C comes in the block: for imports, which leave nothing behind."""

    def end_process(_signal_number: int, _frame: FrameType | None) -> None:
        os.write(2, b"interrupted\n")
        os._exit(EXIT_CODE)

    with _handler(end_process):
        yield


@contextmanager
def raise_once_when_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt when Ctrl-C comes in the block, but not again while files may be being removed."""
    last = float("-inf")

    def interrupt(_signal_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _GRACE_SECONDS:
            last = now
            raise KeyboardInterrupt

    with _handler(interrupt):
        yield


@contextmanager
def _handler(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Replace Python's own handler of SIGINT in the block; leave one that somebody else has set."""
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)
