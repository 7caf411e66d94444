"""Wait for something that happens in another thread or process, or at the other end of a network."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 15.0, what: str = "what was waited for") -> float:
    """Wait until a condition holds and return the seconds that it took; fail if it takes longer than `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - started
