"""Compute what each rated item contributes to the rating logit of a dot product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_server.arrays import FloatArray
from cofactor_server.ranking.directions import Float64Array, split_vector
from cofactor_server.ranking.ranker import UserVector
from cofactor_server.ranking.user_vectors import History


@dataclass(frozen=True, slots=True, eq=False)
class DotProductModel:
    """The parameters of a dot-product model that explain its predictions.

    Attributes:
        global_bias: added to every logit.
        item_bias: (n_items + 1,), as the graphs add it.
        item_factors: (n_items + 1, d), those of the rating part.
        rating_range: rating = low + (high - low) * sigmoid(logit); None if the logit is the rating.
        prior_mean: (d + 1,) mean of the prior over user rows, the bias last.
        prior_precision: (d + 1, d + 1) precision of that prior.
    """

    global_bias: float
    item_bias: FloatArray
    item_factors: FloatArray
    rating_range: tuple[float, float] | None
    prior_mean: FloatArray
    prior_precision: FloatArray

    def row(self, user: UserVector) -> Float64Array:
        """Return the factors of the rating part and the bias of a user, (d + 1,)."""
        return np.append(user.factors[0, : self.item_factors.shape[1]], user.bias[0]).astype(np.float64)


def contributions_of_ratings(
    model: DotProductModel, user: UserVector, average: UserVector, history: History, item_factors: FloatArray
) -> Float64Array:
    """Return what each rated item contributes to the user's interaction with an item of factors (q,) -> (n,).

    The fold-in finds the user row x that minimises the squared errors of the ratings plus the distance from the prior's
    mean m, the average user. At x, H (x - m) = sum over ratings of a w (e + w a.(x - m)), where a are the rated item's
    factors with a 1 for the bias, w is the slope of the rating at x, e is its error, and H = sum of w^2 a a' +
    precision. An item's contribution is its term of that sum, times H^-1 and the factors of the explained item.

    The row of a user of the training data is not quite at that minimum, because training has other penalties. The rest
    of x - m is split into small multiples of the same directions H^-1 a w, as if the errors were different.
    """
    n_rated = len(history.item_rows)
    if n_rated == 0:
        return np.zeros(0)
    x, mean = model.row(user), model.row(average)
    basis = np.ones((n_rated, len(x)))
    basis[:, :-1] = model.item_factors[history.item_rows]
    logits = basis @ x + model.item_bias[history.item_rows] + model.global_bias
    fitted, slopes = _ratings_and_slopes(logits, model.rating_range)
    jacobian = basis * slopes[:, None]
    hessian = jacobian.T @ jacobian + model.prior_precision
    pull = history.ratings - fitted + jacobian @ (x - mean)
    directions = np.linalg.solve(hessian, jacobian.T).T
    # Measured by the prior, so that every coordinate counts by how much users differ in it.
    root = np.linalg.cholesky(model.prior_precision.astype(np.float64))
    pull += split_vector((x - mean - directions.T @ pull) @ root, directions @ root)
    target = np.append(item_factors[: model.item_factors.shape[1]], 0.0).astype(np.float64)
    contributions: Float64Array = (directions @ target) * pull
    return contributions


def _ratings_and_slopes(
    logits: Float64Array, rating_range: tuple[float, float] | None
) -> tuple[Float64Array, Float64Array]:
    if rating_range is None:
        return logits, np.ones_like(logits)
    low, high = rating_range
    sigmoid = 1 / (1 + np.exp(-logits))
    return low + (high - low) * sigmoid, (high - low) * sigmoid * (1 - sigmoid)
