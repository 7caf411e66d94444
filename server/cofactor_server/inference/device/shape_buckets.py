"""Pad the inputs of the recommend graph to a few shapes, so that a device plans memory once per shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cofactor_server.arrays import AnyArray
from cofactor_server.inference.sessions import RunsGraph

BATCH_SIZES = (1, 8, 32, 64, 128)
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

    def __init__(self, session: RunsGraph, n_items: int, *, has_ranking_part: bool = False) -> None:
        self._session = session
        self._n_items = n_items
        self._has_ranking_part = has_ranking_part
        self._user_inputs = ["user_factors", "user_bias", "popularity_weight"]
        if has_ranking_part:
            self._user_inputs.append("order_weights")

    def run(self, outputs: Sequence[str], inputs: Mapping[str, AnyArray], *options: object) -> list[AnyArray]:
        """Run the graph like onnxruntime does. Every output is (B, k). RunOptions are not read."""
        del options
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
