"""Limit the threads of torch while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Below this batch size a second thread gains nothing, and costs much when the other core is busy.
_MIN_THREADED_BATCH = 4096


@contextmanager
def limit_threads(batch_size: int) -> Iterator[None]:
    """Use one torch thread for small batches and all threads for large ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if batch_size >= _MIN_THREADED_BATCH else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
