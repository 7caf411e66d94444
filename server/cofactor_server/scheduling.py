"""Give up the processor so that other threads can run."""

from __future__ import annotations

import os


def let_others_run() -> None:
    """Give up Python's lock and the processor once, so that ready threads run first, gRPC's own threads among them.

    Returns at once if no other thread is ready, or if the system has no such call.
    """
    if hasattr(os, "sched_yield"):
        os.sched_yield()
