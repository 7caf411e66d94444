"""Turn scores into probabilities that a user has an event of an item, by the calibration of a version."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cofactor.v1.manifest_pb2 import Calibration
from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Orders
from cofactor_server.ranking.ranker import Ranking, UserVector


class Probabilities:
    """The probabilities of one version.

    An item's share of a softmax over the items that the user has no event of, and the number of items that the user has
    events of, decide its probability; the message Calibration has the formula. The softmax is that of the default
    order, so the probability of an item does not depend on how a list is ordered.

    Args:
        calibration: the numbers of the formula.
        orders: the orders of the version.
        n_items: number of items of the version. Items that an overlay adds take no part in the softmax.
    """

    def __init__(self, calibration: Calibration, orders: Orders, n_items: int) -> None:
        self._calibration = calibration
        self._orders = orders
        self._all_rows = np.arange(n_items)

    def add_to(self, ranking: Ranking, user: UserVector, scorer: ItemScorer) -> Ranking:
        """Return a ranking with the probabilities of its items; `of` has the arguments."""
        return replace(ranking, probabilities=self.of(user, ranking.rows, scorer))

    def of(self, user: UserVector, rows: IndexArray, scorer: ItemScorer) -> FloatArray:
        """Return the probabilities of items, NaN for those that the user has events of: rows (n,) -> (n,).

        `scorer` scores the items of the version, and those that an overlay adds.
        """
        orders = self._orders.new if user.is_new else self._orders.known
        order = orders[RecommendRequest.RANKING_UNSPECIFIED]
        curve = self._calibration.new_users if user.is_new else self._calibration.known_users
        scores = scorer.score(user.factors, user.bias, order, self._all_rows)[0].astype(np.float64)
        n_items = len(scores)
        scores[user.rated_rows[user.rated_rows < n_items]] = -math.inf
        highest = scores.max(initial=-math.inf)
        if highest == -math.inf:  # the user has events of all items
            return np.full(len(rows), np.nan, dtype=np.float32)
        log_total = highest + math.log(np.exp(scores - highest).sum())
        is_added = rows >= n_items
        of_rows = scores[np.where(is_added, 0, rows)]
        if is_added.any():
            of_rows[is_added] = scorer.score(user.factors, user.bias, order, rows[is_added])[0]
        activity = curve.activity_weight * math.log1p(len(user.rated_rows))
        log_odds = curve.intercept + curve.share_weight * (of_rows - log_total) + activity
        probabilities = 0.5 + 0.5 * np.tanh(0.5 * log_odds)  # a sigmoid without overflow
        probabilities[np.isin(rows, user.rated_rows)] = np.nan
        rounded: FloatArray = probabilities.astype(np.float32)
        return rounded
