"""Measure the unit of a version's calibrated scores: how far the scores of a usual user lie apart."""

from __future__ import annotations

import numpy as np

from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.user_vectors import UserVectors

# A sample is enough, because rules need no more than a scale that stays the same from version to version.
SAMPLED_USERS = 32
SAMPLED_ITEMS = 1024


class ScoreUnits:
    """The unit of the scores of each order, measured when it is first asked for.

    The unit is the standard deviation of a user's scores over the items: the median over some users of the training
    data, on a sample of the items. Both samples are spread evenly over the rows, so that the unit is the same on every
    server.

    Args:
        users: the users of the version.
        scorer: scores the items.
        n_users: number of users of the training data.
    """

    def __init__(self, users: UserVectors, scorer: ItemScorer, n_users: int) -> None:
        self._users = users
        self._scorer = scorer
        self._user_rows = _spread(n_users, SAMPLED_USERS)
        self._item_rows = _spread(scorer.n_items, SAMPLED_ITEMS)
        self._units: dict[tuple[float, float, float], float] = {}

    def of(self, order: Order) -> float:
        """Return the unit of an order. It is 1 if all items have the same score."""
        key = order.rating_weight, order.ranking_weight, order.popularity_weight
        unit = self._units.get(key)
        if unit is None:  # two threads may measure it, and find the same
            unit = self._units[key] = self._measure(order)
        return unit

    def _measure(self, order: Order) -> float:
        factors, biases = self._users.factors_and_biases(self._user_rows)
        spreads = [
            float(np.std(self._scorer.score(factors[i : i + 1], biases[i : i + 1], order, self._item_rows)[0]))
            for i in range(len(self._user_rows))
        ]
        unit = float(np.median(spreads)) if spreads else 0.0
        return unit if np.isfinite(unit) and unit > 0 else 1.0


def _spread(n_rows: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return up to `size` of n_rows rows, at equal distances."""
    return np.unique(np.linspace(0, n_rows - 1, min(size, n_rows)).astype(np.int64))
