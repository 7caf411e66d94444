"""What a thread tells the scheduler."""

from __future__ import annotations

import os


def let_others_run() -> None:
    """Gives up the interpreter's lock and the processor once: threads that are ready, gRPC's own among them, go first.

    Returns at once where no other is, or where the system has no such call.
    """
    if hasattr(os, "sched_yield"):
        os.sched_yield()
