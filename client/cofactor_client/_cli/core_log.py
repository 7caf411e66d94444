"""Keep the log lines of gRPC's C core off the terminal, where an error is one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


def without_core_log() -> AbstractContextManager[None]:
    """Return a context in which the C core's log lines are discarded, unless GRPC_VERBOSITY asks for them.

    The core writes to file descriptor 2. It reads GRPC_VERBOSITY when the package is imported, so a command that is
    part of the package cannot set it in time.
    """
    return nullcontext() if "GRPC_VERBOSITY" in os.environ else _discarding()


@contextmanager
def _discarding() -> Iterator[None]:
    """Point file descriptor 2 to nowhere. Python's own sys.stderr keeps writing to the old place."""
    sys.stderr.flush()
    original, terminal, nowhere = sys.stderr, os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    with os.fdopen(os.dup(terminal), "w", buffering=1) as stream:
        if original is sys.__stderr__:
            sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = original
            os.dup2(terminal, 2)
            os.close(terminal)
