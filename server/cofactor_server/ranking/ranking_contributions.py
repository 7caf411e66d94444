"""Compute what each rated item contributes to the logit by which a version ranks.

The fold-in of a ranking counts the rated items as draws from a softmax over the catalogue, and takes Newton steps from
the average user. In a version that learnt from events, the weight of an item takes the place of a rating's weight. In
coordinates x in which the prior is a standard Gaussian, a full step ends at

    x' = (W C + 1)^-1 (sum over the ratings of w (f - mean item at x) + W C x),

where f are a rated item's factors, w is the weight of its rating, W is the sum of the weights, and C is the covariance
of the items' factors under the softmax of the average user. So the end of every step is a sum over the ratings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.directions import Float64Array, split_vector

# Weights of the lowest and the highest rating of the scale, and lengths of the steps, those of the graph embed_user. If
# a version was written with others, the difference is split like what training learnt beyond the fold-in.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.15, 1.95
STEP_LENGTHS = (1.0, 0.7, 0.7)
# The softmax runs over this many of the average user's best items, as in the graph.
SOFTMAX_ITEMS = 16_384
# Items that the covariance is computed over. More do not visibly change it, and take seconds.
COVARIANCE_ITEMS = 65_536
_TINY = 1e-9


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


@dataclass(frozen=True, slots=True, eq=False)
class RankingTables:
    """Hold the arrays that a version ranks by.

    Attributes:
        user_factors: (n_users, r), of the users of the training data.
        item_factors: (n_items, r).
        item_bias: (n_items,).
        prior_mean: (r,) mean of the prior over the users' factors; None in older versions.
        prior_covariance: (r, r); None in older versions.
        rating_scale: lowest and highest rating.
        draws_per_weight: draws from the softmax that a unit of weight counts as, in a version that learnt from events;
            None in one that learnt from ratings.
    """

    user_factors: FloatArray
    item_factors: FloatArray
    item_bias: FloatArray
    prior_mean: FloatArray | None
    prior_covariance: FloatArray | None
    rating_scale: tuple[float, float]
    draws_per_weight: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Space:
    """The ranking around the average user, in the coordinates of the module's docstring.

    Attributes:
        mean: (r,), and root: (r, r): factors = mean + root x.
        curvature: (r,) diagonal of C.
        items: (m, r) of the softmax, and logits: (m,) theirs for the average user.
        centre: (r,) mean item of the average user, as factors.
    """

    mean: Float64Array
    root: Float64Array
    curvature: Float64Array
    items: Float64Array
    logits: Float64Array
    centre: Float64Array

    def mean_item(self, position: npt.NDArray[np.floating[Any]]) -> Float64Array:
        """Return the mean of the items under the softmax of a user at this position, (r,) -> (r,)."""
        shares = np.exp(_minus_largest(self.items @ position + self.logits))
        mean: Float64Array = (shares / shares.sum()) @ self.items
        return mean


class RankingModel:
    """Explains the ranking logits of a version."""

    def __init__(self, tables: RankingTables) -> None:
        self._tables = tables

    def explain(
        self,
        user: FloatArray,
        average: FloatArray,
        item_rows: IndexArray,
        ratings: FloatArray,
        explained: tuple[FloatArray, float],
    ) -> RankingParts:
        """Split the logit of an item by what each rated item contributes.

        user (r,), average (r,) the same user without ratings, item_rows (n,) the rated items, ratings (n,),
        explained: the item's factors (r,) and its bias.

        The contributions of users who were folded in are exact. The trained row of a known user is not quite the sum of
        the terms of the fold-in: the rest is split into small multiples of the same directions, as if the ratings had
        other weights. In a version that learnt from events the rest stays unexplained: split on MovieLens 100k, ratings
        from 4 on as events, it left half of the distance unexplained instead of a fifth, and gave the items large
        contributions of opposite signs. Contributions are to the distance from the average user's mean item, because
        what a user adds for all items alike does not change the order.
        """
        tables, space = self._tables, self._space
        item_factors, item_bias = explained
        item = item_factors.astype(np.float64)
        mean: Float64Array = average.astype(np.float64)
        change = user.astype(np.float64) - mean
        distance = item - space.centre
        start = np.linalg.solve(space.root, mean - space.mean)
        weights, directions = self._directions(item_rows, ratings, start)
        multiples = weights
        if tables.draws_per_weight is None:
            rest = np.linalg.solve(space.root, change) - weights @ directions
            multiples = weights + split_vector(rest, directions)
        contributions = (directions @ (space.root.T @ distance)) * multiples
        return RankingParts(
            average=float(item @ mean) + item_bias,
            of_all_items=float(space.centre @ change),
            contributions=contributions,
            unexplained=float(distance @ change - contributions.sum()),
        )

    def _directions(
        self, item_rows: IndexArray, ratings: FloatArray, start: npt.NDArray[np.floating[Any]]
    ) -> tuple[Float64Array, Float64Array]:
        """Return the weights (n,) of the ratings and the directions (n, r) that they pull the user's coordinates in."""
        space, weights = self._space, self._draws(ratings)
        items = self._tables.item_factors[item_rows].astype(np.float64) @ space.root
        damping = weights.sum() * space.curvature + 1
        directions = np.zeros_like(items)
        for length in STEP_LENGTHS:
            position = weights @ directions
            # The term W C x is spread over the ratings by their weights.
            end = (items - space.mean_item(start + position) + space.curvature * position) / damping
            directions = (1 - length) * directions + length * end
        return weights, directions

    def _draws(self, ratings: FloatArray) -> Float64Array:
        """Return how many draws from the softmax each rating, or weight of an item, counts as: (n,) -> (n,)."""
        draws_per_weight, (low, high) = self._tables.draws_per_weight, self._tables.rating_scale
        if draws_per_weight is not None:
            return draws_per_weight * ratings.astype(np.float64)
        shares = np.clip((ratings - low) / ((high - low) or 1.0), 0, 1)
        draws: Float64Array = LOWEST_WEIGHT + (HIGHEST_WEIGHT - LOWEST_WEIGHT) * shares
        return draws

    @cached_property
    def _space(self) -> _Space:
        tables = self._tables
        mean, covariance = tables.prior_mean, tables.prior_covariance
        if mean is None or covariance is None:
            users = tables.user_factors.astype(np.float64)
            mean, covariance = users.mean(axis=0), np.atleast_2d(np.cov(users, rowvar=False, bias=True))
            covariance = covariance + (1e-4 * np.trace(covariance) / len(covariance) + _TINY) * np.eye(len(covariance))
        root = np.linalg.cholesky(covariance.astype(np.float64))
        logits = tables.item_factors @ mean.astype(np.float32) + tables.item_bias
        likeliest = np.argsort(-logits, kind="stable")
        rows = likeliest[:COVARIANCE_ITEMS]
        weights = np.exp(_minus_largest(logits[rows].astype(np.float64)))
        weights /= weights.sum()
        items = tables.item_factors[rows].astype(np.float64)
        centre = weights @ items
        spread = (items * weights[:, None]).T @ items - np.outer(centre, centre)
        curvature, axes = np.linalg.eigh(root.T @ spread @ root)
        root = root @ axes
        rows = likeliest[:SOFTMAX_ITEMS]
        softmax_items = tables.item_factors[rows].astype(np.float64) @ root
        return _Space(
            mean.astype(np.float64), root, curvature.clip(min=0), softmax_items, logits[rows].astype(np.float64), centre
        )


def _minus_largest(logits: Float64Array) -> Float64Array:
    moved: Float64Array = logits - logits.max()
    return moved
