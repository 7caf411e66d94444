"""Choose the items to ask a new user about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cofactor_trainer.data.dataset import Int64Array
from cofactor_trainer.data.profile_regression import Float64Array
from cofactor_trainer.graphs.user_prior import UserPrior
from cofactor_trainer.scoring.trained_model import TrainedModel

N_STARTER_ITEMS = 100
# Only the most rated items are asked about: nobody has seen the others.
_CANDIDATES = 2000
# An item counts half after this many items of its genres, on average over its genres.
_ITEMS_PER_GENRE = 5.0


def starter_items(
    model: TrainedModel, prior: UserPrior, rating_counts: Int64Array, n_users: int, genres: Sequence[Sequence[str]]
) -> Int64Array:
    """Return at most N_STARTER_ITEMS item rows, in the order in which to ask a new user about them.

    Each one is the item whose rating tells most about the user, given those before it: the information gain of a
    Gaussian user row under linear observations (M. Seeger and H. Nickisch, 2008, call the rule information gain
    design). With S the covariance of the user's row, x the item's row and s the slope of the rating there, the gain is
    log(1 + p s² xᵀSx). p is the share of the users who have rated the item; the others cannot answer. The gain of an
    item is lower the more items of its genres are in the list.

    rating_counts (n_items,); genres of every item. The model must be a dot product.
    """
    n_known = int(np.count_nonzero(rating_counts))
    candidates = np.argsort(-rating_counts, kind="stable")[: min(_CANDIDATES, n_known)]
    rows = _observations(model, prior, candidates)
    rows *= np.sqrt(rating_counts[candidates] / max(n_users, 1))[:, None]
    variances = np.einsum("ij,ij->i", rows @ prior.covariance, rows)
    membership = _membership([genres[item] for item in candidates])
    n_seen = np.zeros(membership.shape[1])
    covariance = prior.covariance.copy()
    chosen: list[int] = []
    while len(chosen) < min(N_STARTER_ITEMS, len(candidates)):
        gains = np.log1p(np.maximum(variances, 0)) / (1 + membership @ n_seen / _ITEMS_PER_GENRE)
        gains[chosen] = -1.0
        best = int(np.argmax(gains))
        chosen.append(best)
        n_seen += membership[best] > 0
        # The posterior after an answer; the variance of every candidate falls by what the two have in common.
        direction = covariance @ rows[best]
        scale = 1 + rows[best] @ direction
        variances -= (rows @ direction) ** 2 / scale
        covariance -= np.outer(direction, direction) / scale
    found: Int64Array = candidates[chosen].astype(np.int64)
    return found


def _observations(model: TrainedModel, prior: UserPrior, items: Int64Array) -> Float64Array:
    """Return the gradient of the rating of some items by the user's row, at the mean of the prior, (n, d + 1)."""
    factors = model.item_factors[items, : model.n_dot_factors].astype(np.float64)
    rows = np.column_stack([factors, np.ones(len(items))])
    if model.rating_range is None:
        return rows
    logits = rows @ prior.mean + model.item_bias[items] + model.global_bias
    low, high = model.rating_range
    share = 1 / (1 + np.exp(-logits))
    slopes: Float64Array = (high - low) * share * (1 - share)
    return rows * slopes[:, None]


def _membership(genres: Sequence[Sequence[str]]) -> Float64Array:
    """Return (n_items, n_genres): 1 / the number of the item's genres where the item has the genre, otherwise 0."""
    numbers = {name: number for number, name in enumerate(sorted({name for names in genres for name in names}))}
    found = np.zeros((len(genres), len(numbers)))
    for row, names in enumerate(genres):
        found[row, [numbers[name] for name in names]] = 1 / max(len(names), 1)
    return found
