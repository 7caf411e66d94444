"""Recommend with inputs of few shapes, so that a device plans its memory once for each of them and never again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from cofactor_server.arrays import AnyArray

BATCH_SIZES = (1, 8, 32, 64)
# Excluded items, and results.
LENGTHS = (16, 128, 1024)


def padded_length(length: int, lengths: Sequence[int]) -> int:
    """The smallest of `lengths` that is no less; beyond them the next power of two."""
    for fixed in lengths:
        if length <= fixed:
            return fixed
    return 1 << (length - 1).bit_length()


class ShapeBuckets:
    """The recommend graph, its batch, exclusions and results filled up, and the filling taken off the answer.

    users are filled up with zeros, exclusions with the unknown item, and as many results more are asked for.
    """

    def __init__(self, session: Any, n_items: int) -> None:
        self._session = session
        self._n_items = n_items

    def run(self, outputs: Sequence[str], inputs: dict[str, AnyArray]) -> list[AnyArray]:
        """As onnxruntime's run; every output is (B, k)."""
        n_users, n_excluded = inputs["excluded_rows"].shape
        k = int(inputs["k"][0])
        padded = {
            "excluded_rows": np.full(
                (padded_length(n_users, BATCH_SIZES), padded_length(n_excluded, LENGTHS)), self._n_items, dtype=np.int64
            ),
            "k": np.array([min(padded_length(k, LENGTHS), self._n_items)], dtype=np.int64),
        }
        padded["excluded_rows"][:n_users, :n_excluded] = inputs["excluded_rows"]
        for name in ("user_factors", "user_bias", "popularity_weight"):
            array = inputs[name]
            padded[name] = np.zeros((len(padded["excluded_rows"]), *array.shape[1:]), dtype=np.float32)
            padded[name][:n_users] = array
        return [output[:n_users, :k] for output in self._session.run(outputs, padded)]

    def warm_up(self, outputs: Sequence[str], n_factors: int, largest_batch: int) -> None:
        """Run once with every shape that calls of up to `largest_batch` users with short lists have."""
        sizes = [size for size in BATCH_SIZES if size <= padded_length(largest_batch, BATCH_SIZES)]
        for n_users, n_excluded, k in itertools.product(sizes, LENGTHS, LENGTHS[:2]):
            inputs: dict[str, AnyArray] = {
                "user_factors": np.zeros((n_users, n_factors), dtype=np.float32),
                "user_bias": np.zeros(n_users, dtype=np.float32),
                "popularity_weight": np.zeros(n_users, dtype=np.float32),
                "excluded_rows": np.full((n_users, n_excluded), self._n_items, dtype=np.int64),
                "k": np.array([min(k, self._n_items)], dtype=np.int64),
            }
            self.run(outputs, inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
