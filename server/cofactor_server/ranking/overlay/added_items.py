"""Predict and score the items that an overlay adds to a dot product, with numpy: no graph has their rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray, typed_table
from cofactor_server.ranking.ranker import TopKQuery
from cofactor_server.repository.version_directory import VersionDirectory


class AddedItems:
    """The added items by their own rows, from 0.

    Attributes:
        n_items: number of added items.
    """

    def __init__(self, directory: VersionDirectory) -> None:
        """Take the tables of the added items, and the numbers of the version's manifest."""
        manifest, tables = directory.manifest, directory.tables
        self.n_items = int(manifest.item_count)
        self._n_rating = int(manifest.item_factor_count - manifest.ranking_factor_count)
        factors = typed_table(tables, "item_factors", np.float32)[: self.n_items]
        self._bias = typed_table(tables, "item_bias", np.float32)[: self.n_items]
        self._rating_factors = factors[:, : self._n_rating]
        self._global_bias = np.float32(manifest.global_bias)
        self._range = (manifest.rating_range.low, manifest.rating_range.high)
        self._has_range = manifest.HasField("rating_range")
        is_bounded = manifest.objective == "rating"
        self._scale = (np.float32(manifest.rating_min), np.float32(manifest.rating_max))
        if not is_bounded:
            self._scale = (np.float32(-np.inf), np.float32(np.inf))
        # A score is the product of such a row with [rating_weight * user factors, ranking_weight * those of the ranking
        # part, rating_weight, popularity_weight], plus what is the same for all items.
        popularity = typed_table(tables, "item_log_popularity", np.float32)[: self.n_items]
        self._scored: FloatArray = np.ascontiguousarray(np.column_stack([factors, self._bias, popularity]))

    def predict(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """Predict ratings: factors (B, d), bias (B,), item_rows (N,), B is N or 1 -> logits (N,), ratings (N,)."""
        products = (self._rating_factors[item_rows] * user_factors[:, : self._n_rating]).sum(1)
        logits: FloatArray = products + self._bias[item_rows] + (user_bias + self._global_bias)
        return logits, self._ratings(logits)

    def _ratings(self, logits: FloatArray) -> FloatArray:
        ratings = logits
        if self._has_range:
            low, high = self._range
            ratings = (low + (high - low) / (1 + np.exp(-logits))).astype(np.float32)
        lowest, highest = self._scale
        clipped: FloatArray = np.maximum(lowest, np.minimum(highest, ratings))  # np.clip takes several times as long
        return clipped

    def scores(self, queries: Sequence[TopKQuery]) -> FloatArray:
        """Return the scores of all added items by the order of each query: (B, n_items)."""
        n, d = self._n_rating, self._scored.shape[1] - 2
        weights, constants = np.empty((len(queries), d + 2), dtype=np.float32), np.empty((len(queries), 1), np.float32)
        for row, query in enumerate(queries):
            order, user = query.order, query.user
            np.multiply(user.factors[0, :n], order.rating_weight, out=weights[row, :n])
            if n < d:
                np.multiply(user.factors[0, n:], order.ranking_weight, out=weights[row, n:d])
            weights[row, d], weights[row, d + 1] = order.rating_weight, order.popularity_weight
            constants[row] = order.rating_weight * (user.bias[0] + self._global_bias)
        scores: FloatArray = weights @ self._scored.T
        scores += constants
        return scores
