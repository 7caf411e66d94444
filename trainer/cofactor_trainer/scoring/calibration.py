"""Turn scores of items into probabilities that a user has an event of an item.

The scores are logits of a softmax over the catalogue: only their differences mean something. So an item's share of the
softmax is what the calibration starts from, and the number of items that the user has, because a user with many events
will have many more. The curve is that of J. Platt, Probabilistic outputs for support vector machines, 1999, with two
inputs in the place of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Float64Array, Int64Array


@dataclass(frozen=True)
class Curve:
    """The log odds of an item: intercept + share_weight * log(share) + activity_weight * log(n + 1).

    share is the item's share of the softmax over the items that the user has no event of, and n is the number of items
    that the user has events of.
    """

    intercept: float
    share_weight: float
    activity_weight: float

    def probabilities(self, log_shares: Float64Array, n_items: Int64Array) -> Float64Array:
        """Return probabilities: log_shares of any shape, n_items of a shape that broadcasts to it."""
        log_odds = self.intercept + self.share_weight * log_shares + self.activity_weight * np.log1p(n_items)
        probabilities: Float64Array = 0.5 + 0.5 * np.tanh(0.5 * log_odds)  # a sigmoid without overflow
        return probabilities


@dataclass(frozen=True)
class Calibration:
    """The probabilities of a version.

    Attributes:
        known_users: curve for the users of the training data.
        new_users: curve for users that are folded in.
        meaning: what a probability is of, for people: "that the item is among ...".
    """

    known_users: Curve
    new_users: Curve
    meaning: str


def log_shares(scores: Float64Array, left_out: BoolArray) -> Float64Array:
    """Return the logarithms of the shares in the softmax of every user; -inf for what is left out.

    scores (n_users, n_items), left_out (n_users, n_items) -> (n_users, n_items).
    """
    scores = np.where(left_out, -math.inf, scores)
    highest = scores.max(1, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0.0)  # of a user who has all items
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Float64Array = scores - (highest + np.log(np.exp(scores - highest).sum(1, keepdims=True)))
    return np.where(left_out, -math.inf, shares)
