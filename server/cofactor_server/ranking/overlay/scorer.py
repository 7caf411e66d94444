"""Score and compare single items of a version and of its overlay."""

from __future__ import annotations

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.item_scorer import ItemScorer, Predictor
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.overlay.rows import from_both


class JoinedPredictor:
    """Predicts ratings of the items of a version with its graph, and of the added items without."""

    def __init__(self, version: Predictor, added: Predictor, n_items: int) -> None:
        """`n_items` is the number of items of the version."""
        self._version, self._added, self._n_items = version, added, n_items

    def predict(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """Predict ratings: factors (B, d), bias (B,), item_rows (N,), B is N or 1 -> logits (N,), ratings (N,)."""
        is_added = item_rows >= self._n_items
        if not is_added.any():
            return self._version.predict(user_factors, user_bias, item_rows)
        has_pairs = len(user_bias) > 1
        logits, ratings = np.empty(len(item_rows), np.float32), np.empty(len(item_rows), np.float32)
        for graph, part, first_row in ((self._version, ~is_added, 0), (self._added, is_added, self._n_items)):
            if part.any():
                users = part if has_pairs else slice(None)
                rows = item_rows[part] - first_row
                logits[part], ratings[part] = graph.predict(user_factors[users], user_bias[users], rows)
        return logits, ratings


class JoinedScorer(ItemScorer):
    """Scores the items of a version with its own scorer, and the added items with theirs."""

    def __init__(self, version: ItemScorer, added: ItemScorer) -> None:
        self._version, self._added = version, added
        self._n_version = version.n_items
        self.n_items = version.n_items + added.n_items

    @property
    def has_ranking_part(self) -> bool:
        """Return True if the version has a ranking part."""
        return self._version.has_ranking_part

    @property
    def ranking_columns(self) -> slice:
        """Return the columns of both factors that order items, without the biases; all without a ranking part."""
        return self._version.ranking_columns

    def score(
        self, user_factors: FloatArray, user_bias: FloatArray, order: Order, rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """Score items for one user: factors (1, d), bias (1,), rows (n,) -> scores (n,), predicted ratings (n,)."""

        def pairs(scorer: ItemScorer, own_rows: IndexArray) -> FloatArray:
            return np.column_stack(scorer.score(user_factors, user_bias, order, own_rows)).astype(np.float32)

        both = from_both(rows, self._n_version, lambda r: pairs(self._version, r), lambda r: pairs(self._added, r))
        return both[:, 0], both[:, 1]

    def ranking_logits(self, user_factors: FloatArray, rows: IndexArray) -> FloatArray:
        """Return the logits of the ranking part for one user: factors (1, d), rows (n,) -> (n,)."""
        return from_both(
            rows,
            self._n_version,
            lambda own: self._version.ranking_logits(user_factors, own),
            lambda own: self._added.ranking_logits(user_factors, own),
        )

    def log_popularity(self, row: int) -> float:
        """Return log(rating count + 1) of an item."""
        n = self._n_version
        return self._version.log_popularity(row) if row < n else self._added.log_popularity(row - n)

    def cosines(self, direction: FloatArray) -> FloatArray:
        """Compare every item with a vector of length 1 as SimilarItems does: (m,) -> (n_items,)."""
        return np.concatenate([self._version.cosines(direction), self._added.cosines(direction)])

    def added_cosines(self, direction: FloatArray) -> FloatArray:
        """Compare every added item with such a vector: (m,) -> (number of added items,)."""
        return self._added.cosines(direction)

    def unit_vectors(self, rows: IndexArray) -> FloatArray:
        """Return the vectors that SimilarItems compares, of length 1 or 0: rows (n,) -> (n, m)."""
        return from_both(rows, self._n_version, self._version.unit_vectors, self._added.unit_vectors)
