"""How many threads torch uses while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Below this batch a second thread gains nothing, and it collapses when the other core is busy.
_THREADED_BATCH = 4096


@contextmanager
def threads_for(batch_size: int) -> Iterator[None]:
    """One torch thread for small batches, all of them for large ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if batch_size >= _THREADED_BATCH else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
