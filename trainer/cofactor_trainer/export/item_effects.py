"""Compute how much users like each item, regardless of their taste: the main effect of the item."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, Int64Array
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits
from cofactor_trainer.scoring.trained_model import TrainedModel

# An item counts as if it had this many more ratings, all at the mean: one rating says little about an item.
SHRINKAGE = 5.0
# Pairs of a user and an item that a network is run on; they determine the number of users.
_NETWORK_PAIRS = 2_000_000
_FEWEST_USERS, _MOST_USERS = 16, 256


def item_effects(model: TrainedModel, rating_counts: Int64Array) -> Float32Array:
    """Return the main effect of every item, in the unit of the logit: rating_counts (n_items,) -> (n_items,).

    It is the item's mean logit over the users, less the mean of all items by rating, shrunk towards 0 by
    count / (count + SHRINKAGE). Unlike the bias, every architecture has it, and it includes what the factors of an item
    add for the average user.
    """
    logits = _mean_logits(model)
    weights = rating_counts if rating_counts.any() else np.ones_like(rating_counts)
    effects = logits - np.average(logits, weights=weights)
    shrunk: Float32Array = (effects * rating_counts / (rating_counts + SHRINKAGE)).astype(np.float32)
    return shrunk


def _mean_logits(model: TrainedModel) -> np.ndarray:
    """Return the mean logit of every known item over the users, (n_items,); for a network over a sample of them."""
    n_users, n_items = len(model.user_bias) - 1, len(model.item_bias) - 1
    if not model.layers:
        # The logit is linear in the user's row, so its mean is the logit of the mean row.
        n_dot = model.n_dot_factors
        mean = model.user_factors[:-1, :n_dot].mean(0, dtype=np.float64)
        bias = model.user_bias[:-1].mean(dtype=np.float64) + model.item_bias[:-1]
        logits: np.ndarray = model.item_factors[:-1, :n_dot] @ mean + bias
        return logits
    wanted = int(np.clip(_NETWORK_PAIRS // n_items, _FEWEST_USERS, _MOST_USERS))
    users = np.random.default_rng(0).permutation(n_users)[:wanted]
    total = np.zeros(n_items)
    for user in users:
        total += predict_all_logits(model, np.array([user]))[0]
    return total / len(users)
