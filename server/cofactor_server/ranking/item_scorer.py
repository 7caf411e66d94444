"""Score single items by any order, and compare items, with the tables of a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from cofactor_server.arrays import AnyArray, FloatArray, IndexArray, typed_table
from cofactor_server.ranking.orders import Order


class Predictor(Protocol):
    """The engine's predict graph."""

    def predict(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """Predict ratings: factors (B, d), bias (B,), item_rows (N,), B is N or 1 -> logits (N,), ratings (N,)."""


class ItemScorer:
    """Scores items exactly as the recommend graph does, up to rounding.

    The ranking part of a version is the last columns of both factor tables. Its last column holds the bias of every
    item, and a 1 for every user.

    Args:
        predictor: computes the rating logits.
        tables: of the version: item_factors (n_items + 1, q), item_inverse_norms and item_log_popularity
            (n_items + 1,).
        n_ranking_factors: number of columns of the ranking part; 0 for none.
    """

    def __init__(self, predictor: Predictor, tables: Mapping[str, AnyArray], n_ranking_factors: int = 0) -> None:
        self._predictor = predictor
        self._log_popularity = typed_table(tables, "item_log_popularity", np.float32)
        self._inverse_norms = typed_table(tables, "item_inverse_norms", np.float32)
        factors = typed_table(tables, "item_factors", np.float32)
        self._n_ranking = n_ranking_factors
        self._ranking_factors = factors[:, factors.shape[1] - n_ranking_factors :]
        # Of users and of items, without the column of the biases; all columns without a ranking part.
        self._without_bias = slice(-n_ranking_factors or None, -1 if n_ranking_factors else None)
        self._compared_factors = factors[:, : self._without_bias.stop]
        self.n_items = len(self._log_popularity) - 1

    @property
    def has_ranking_part(self) -> bool:
        """Return True if the version has a ranking part."""
        return self._n_ranking > 0

    def score(
        self, user_factors: FloatArray, user_bias: FloatArray, order: Order, rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """Score items for one user: factors (1, d), bias (1,), rows (n,) -> scores (n,), predicted ratings (n,)."""
        logits, ratings = self._predictor.predict(user_factors, user_bias, rows)
        scores = logits if order.rating_weight == 1 else np.float32(order.rating_weight) * logits
        if order.ranking_weight:
            scores = scores + np.float32(order.ranking_weight) * self.ranking_logits(user_factors, rows)
        return scores + np.float32(order.popularity_weight) * self._log_popularity[rows], ratings

    def ranking_logits(self, user_factors: FloatArray, rows: IndexArray) -> FloatArray:
        """Return the logits of the ranking part for one user: factors (1, d), rows (n,) -> (n,)."""
        user = user_factors[0, user_factors.shape[1] - self._n_ranking :]
        logits: FloatArray = self._ranking_factors[rows] @ user
        return logits

    @property
    def ranking_columns(self) -> slice:
        """Return the columns of both factors that order items, without the biases; all without a ranking part."""
        return self._without_bias

    def log_popularity(self, row: int) -> float:
        """Return log(rating count + 1) of an item."""
        return float(self._log_popularity[row])

    def cosines(self, direction: FloatArray) -> FloatArray:
        """Compare every item with a vector of length 1 as SimilarItems does: (m,) -> (n_items,)."""
        cosines: FloatArray = (self._compared_factors[:-1] @ direction) * self._inverse_norms[:-1]
        return cosines

    def unit_vectors(self, rows: IndexArray) -> FloatArray:
        """Return the vectors that SimilarItems compares, of length 1 or 0: rows (n,) -> (n, m)."""
        return self._compared_factors[rows] * self._inverse_norms[rows, None]
