"""Handle Ctrl-C and SIGTERM: one line, exit code 130 or 143, and time to remove what is half written."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

# Another signal that comes this soon must not interrupt the removal of half-written files.
_GRACE_SECONDS = 2.0
# The words for each signal, and Python's own handler of it.
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_DEFAULTS: dict[signal.Signals, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class Terminated(KeyboardInterrupt):
    """SIGTERM; whatever cleans up after Ctrl-C cleans up after this too."""


def describe(interruption: KeyboardInterrupt) -> tuple[str, int]:
    """Return the line for people and the exit code of a process that a signal ends."""
    number = signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT
    words = _WORDS[number]
    return f"{words}: {interruption}" if str(interruption) else words, 128 + number


@contextmanager
def exit_when_interrupted() -> Iterator[None]:
    """End the process with one line if a signal comes in the block: for imports, which leave nothing behind."""

    def end_process(number: int, _frame: FrameType | None) -> None:
        os.write(2, f"{_WORDS[signal.Signals(number)]}\n".encode())
        os._exit(128 + number)

    with _handlers(end_process):
        yield


@contextmanager
def raise_once_when_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt or Terminated when a signal comes in the block, but once: files may be being removed."""
    last = float("-inf")

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _GRACE_SECONDS:
            last = now
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    with _handlers(interrupt):
        yield


def ignore_interruptions() -> None:
    """Ignore the signals from now on: the process ends anyway."""
    for number in _WORDS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handlers(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Replace Python's own handlers in the block; leave those that somebody else has set."""
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number, default in _DEFAULTS.items():
                if signal.getsignal(number) is default:
                    signal.signal(number, handle)
                    stack.callback(_restore, number, handle)
        yield


def _restore(number: signal.Signals, handle: Callable[[int, FrameType | None], None]) -> None:
    if signal.getsignal(number) is handle:
        signal.signal(number, _DEFAULTS[number])
