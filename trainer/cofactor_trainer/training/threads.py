"""Limit the threads of torch while it computes on small arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Below this batch size a second thread gains nothing, and costs much when the other core is busy.
_MIN_THREADED_BATCH = 4096


def is_threaded(batch_size: int) -> bool:
    """Return True if a training with this batch size uses all threads."""
    return batch_size >= _MIN_THREADED_BATCH


@contextmanager
def limit_threads(batch_size: int) -> Iterator[None]:
    """Use one torch thread for small batches and all threads for large ones."""
    if is_threaded(batch_size):
        yield
    else:
        with one_thread():
            yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one torch thread.

    On small arrays a second one gains little. While another program runs it costs much: threads that wait for each
    other spin.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
