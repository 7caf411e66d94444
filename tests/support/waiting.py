"""Wait for something that happens in another thread or process, or at the other end of a network."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def until(condition: Callable[[], object], seconds: float = 15.0, what: str = "what was waited for") -> float:
    """Wait until a condition holds and return the seconds that it took; fail if it takes longer than `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - started


def files_below(folder: Path) -> list[Path]:
    """List all files below a folder in which another process creates and removes folders meanwhile, in order.

    `Path.rglob` raises `FileNotFoundError` for a folder that is removed while it looks; `os.walk` passes over it.
    """
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
