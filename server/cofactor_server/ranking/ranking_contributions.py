"""Compute what each rated item contributes to the logit by which a version ranks.

The fold-in of a ranking counts the rated items as draws from a softmax over the catalogue, and takes one Newton step
from the average user m: x = m + D * sum of w (f - c), where f are the rated item's factors, w is the weight of its
rating, c and C are mean and covariance of the factors under the softmax of the average user, and D = (S^-1 + sum of
w * C)^-1 with the covariance S of the trained user rows. All of that follows from the tables of a version.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.directions import Float64Array, split_vector

# Weights of the lowest and the highest rating of the scale, those of the graph embed_user.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.15, 1.95
# More rows do not visibly change the covariances, and take seconds.
MOST_USERS = MOST_ITEMS = 1 << 16
# What the trainer adds to the covariance, in units of the mean variance and as it is.
_RIDGE, _SMALLEST_VARIANCE = 1e-4, 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class RankingParts:
    """The parts of the ranking logit of one user and one item.

    Attributes:
        average: what the average user has.
        of_all_items: what this user adds for all items alike.
        contributions: (n,) of each rated item.
        unexplained: the rest.
    """

    average: float
    of_all_items: float
    contributions: Float64Array
    unexplained: float


class RankingModel:
    """The factors of a version that order its items.

    Args:
        user_factors: (n_users + 1, d) with the average user last.
        item_factors: (n_items + 1, q) with the unknown item last.
        item_bias: (n_items + 1,), which is added to the dot product.
        user_columns: the d' columns of the user factors that order items.
        item_columns: as many columns of the item factors.
        rating_scale: lowest and highest rating.
    """

    def __init__(
        self,
        user_factors: FloatArray,
        item_factors: FloatArray,
        item_bias: FloatArray,
        columns: tuple[slice, slice],
        rating_scale: tuple[float, float],
    ) -> None:
        self._user_factors, self._item_factors, self._item_bias = user_factors, item_factors, item_bias
        self._user_columns, self._item_columns = columns
        self._low, self._high = rating_scale

    def explain(
        self, user: FloatArray, average: FloatArray, item_rows: IndexArray, ratings: FloatArray, item_row: int
    ) -> RankingParts:
        """Split the logit of an item by what each rated item contributes.

        user (1, d), average (1, d) the same user without ratings, item_rows (n,) the rated items, ratings (n,).

        The contributions of users who were folded in are exact. The trained row of a known user is not quite the sum of
        the terms of the fold-in: the rest is split into small multiples of the same directions, as if the ratings had
        other weights. Contributions are to the distance from the average item of the catalogue, because what a user
        adds for all items alike does not change the order.
        """
        item = self._items(np.array([item_row]))[0].astype(np.float64)
        mean = average[0, self._user_columns].astype(np.float64)
        change = user[0, self._user_columns].astype(np.float64) - mean
        centre, root, curvature = self._fold_in
        distance = item - centre
        shares = np.clip((ratings - self._low) / ((self._high - self._low) or 1.0), 0, 1)
        weights = LOWEST_WEIGHT + (HIGHEST_WEIGHT - LOWEST_WEIGHT) * shares
        # In whitened coordinates, where the covariance of the users is 1.
        directions = (self._items(item_rows) - centre) @ root / (weights.sum() * curvature + 1)
        rest = np.linalg.solve(root, change) - weights @ directions
        multiples = weights + split_vector(rest, directions)
        contributions = (directions @ (root.T @ distance)) * multiples
        return RankingParts(
            average=float(item @ mean) + float(self._item_bias[item_row]),
            of_all_items=float(centre @ change),
            contributions=contributions,
            unexplained=float(distance @ change - contributions.sum()),
        )

    def _items(self, rows: IndexArray) -> FloatArray:
        return self._item_factors[rows, self._item_columns]

    @cached_property
    def _fold_in(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return the mean of the items (d',), the root of the users' covariance (d', d') and the curvature (d',).

        The root is turned so that the covariance of the items is diagonal in whitened coordinates.
        """
        step = -(-(len(self._user_factors) - 1) // MOST_USERS)
        users = self._user_factors[:-1:step, self._user_columns].astype(np.float64)
        covariance = np.atleast_2d(np.cov(users, rowvar=False, bias=True))
        ridge = _RIDGE * np.trace(covariance) / len(covariance) + _SMALLEST_VARIANCE
        root = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))
        centre, spread = self._softmax_moments(users.mean(axis=0))
        curvature, axes = np.linalg.eigh(root.T @ spread @ root)
        return centre, root @ axes, curvature.clip(min=0)

    def _softmax_moments(self, user: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return mean and covariance of the items' factors under the softmax of a user, over the likeliest items."""
        items, bias = self._item_factors[:-1, self._item_columns], self._item_bias[:-1]
        logits = (items @ user.astype(np.float32) + bias).astype(np.float64)
        if len(logits) > MOST_ITEMS:
            likeliest = np.argpartition(-logits, MOST_ITEMS)[:MOST_ITEMS]
            items, logits = items[likeliest], logits[likeliest]
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        centre: Float64Array = weights @ items
        moment = (items * weights[:, None]).T @ items
        return centre, moment - np.outer(centre, centre)
