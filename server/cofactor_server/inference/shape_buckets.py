"""Pad the inputs of the recommend graph to a few shapes, so that a device plans memory once per shape."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from cofactor_server.arrays import AnyArray
from cofactor_server.inference.sessions import GraphSession

BATCH_SIZES = (1, 8, 32, 64)
# Numbers of excluded items, and of results.
LENGTHS = (16, 128, 1024)


def padded_length(length: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that holds `length`, or the next power of two if none does."""
    for bucket in buckets:
        if length <= bucket:
            return bucket
    return 1 << (length - 1).bit_length()


class ShapeBuckets:
    """Runs the recommend graph with padded inputs and removes the padding from its outputs.

    Users are padded with zeros, excluded rows with n_items (the unknown item), and k with further results.
    """

    def __init__(self, session: GraphSession, n_items: int, *, has_ranking_part: bool = False) -> None:
        self._session = session
        self._n_items = n_items
        self._has_ranking_part = has_ranking_part
        self._user_inputs = ["user_factors", "user_bias", "popularity_weight"]
        if has_ranking_part:
            self._user_inputs.append("order_weights")

    def run(self, outputs: Sequence[str], inputs: dict[str, AnyArray]) -> list[AnyArray]:
        """Run the graph like onnxruntime does. Every output is (B, k)."""
        n_users, n_excluded = inputs["excluded_rows"].shape
        k = int(inputs["k"][0])
        batch_size = padded_length(n_users, BATCH_SIZES)
        padded: dict[str, AnyArray] = {
            "excluded_rows": np.full((batch_size, padded_length(n_excluded, LENGTHS)), self._n_items, dtype=np.int64),
            "k": np.array([min(padded_length(k, LENGTHS), self._n_items)], dtype=np.int64),
        }
        padded["excluded_rows"][:n_users, :n_excluded] = inputs["excluded_rows"]
        for name in self._user_inputs:
            array = inputs[name]
            padded[name] = np.zeros((batch_size, *array.shape[1:]), dtype=np.float32)
            padded[name][:n_users] = array
        return [output[:n_users, :k] for output in self._session.run(outputs, padded)]

    def warm_up(self, outputs: Sequence[str], n_factors: int, max_batch_size: int) -> None:
        """Run once with every shape of calls that have up to `max_batch_size` users and short lists."""
        sizes = [size for size in BATCH_SIZES if size <= padded_length(max_batch_size, BATCH_SIZES)]
        # A network is run only if the rating logit has a weight.
        rating_weights = (0, 1) if self._has_ranking_part else (1,)
        for n_users, n_excluded, k, weight in itertools.product(sizes, LENGTHS, LENGTHS[:2], rating_weights):
            inputs: dict[str, AnyArray] = {
                "user_factors": np.zeros((n_users, n_factors), dtype=np.float32),
                "user_bias": np.zeros(n_users, dtype=np.float32),
                "popularity_weight": np.zeros(n_users, dtype=np.float32),
                "excluded_rows": np.full((n_users, n_excluded), self._n_items, dtype=np.int64),
                "k": np.array([min(k, self._n_items)], dtype=np.int64),
            }
            if self._has_ranking_part:
                inputs["order_weights"] = np.full((n_users, 2), weight, dtype=np.float32)
            self.run(outputs, inputs)
