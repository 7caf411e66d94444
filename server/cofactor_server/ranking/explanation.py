"""Why a prediction is what it is: what each rated item adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.ranker import Scores, UserVector
from cofactor_server.ranking.user_vectors import History, Users

# Rated items whose absence is tried for a model that is not linear, the nearest to the explained item first: each costs
# one fold-in.
MOST_LEFT_OUT = 64
_PER_RUN = 16


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The parts of a logit.

    score = global_bias + user_bias + item_bias + interaction, and interaction = sum of contributions + remainder.

    Attributes:
        contributions: (m,) parallel to `item_rows` and `ratings`, largest absolute value first.
    """

    score: float
    global_bias: float
    user_bias: float
    item_bias: float
    interaction: float
    item_rows: IndexArray
    ratings: FloatArray
    contributions: npt.NDArray[np.float64]
    remainder: float
    predicted_rating: float


@dataclass(frozen=True, slots=True, eq=False)
class LogitModel:
    """What the explanation of a dot product needs of it.

    rating = low + (high - low) * sigmoid(logit), or the logit where rating_range is None. `precision`
    (d + 1, d + 1) is that of the prior over user rows, the bias last.
    """

    item_factors: FloatArray
    item_bias: FloatArray
    global_bias: float
    rating_range: tuple[float, float] | None
    prior_mean: FloatArray
    precision: FloatArray


class Explainer:
    """Explains predictions of one version.

    A dot product is explained exactly, from the normal equations of the fold-in at the user's row; other models by
    leaving out one rated item at a time.
    """

    def __init__(
        self,
        users: Users,
        scores: Scores,
        item_bias: FloatArray,
        global_bias: float,
        n_items: int,
        *,
        nearness: Callable[[IndexArray, IndexArray], FloatArray],
        dot_product: LogitModel | None,
    ) -> None:
        self._users = users
        self._scores = scores
        self._item_bias = item_bias
        self._global_bias = global_bias
        self._n_items = n_items
        self._nearness = nearness
        self._dot_product = dot_product

    def explain(self, user: UserVector, history: History, item_row: int, n_contributions: int) -> Explanation:
        """The prediction of one item for a user with this history.

        Raises NewUsersUnsupported for a model that is neither a dot product nor able to embed users.
        """
        logits, ratings = self._scores.predict(user.factors, user.bias, np.array([item_row]))
        interaction = self._interaction(float(logits[0]), float(user.bias[0]), item_row)
        if self._dot_product is None:
            shares = self._left_out_one_by_one(history, item_row)
        else:
            shares = contributions_of_ratings(self._dot_product, user, history, item_row)
        listed = np.argsort(-np.abs(shares), kind="stable")[:n_contributions]
        return Explanation(
            score=float(logits[0]),
            global_bias=self._global_bias,
            user_bias=float(user.bias[0]),
            item_bias=float(self._item_bias[item_row]),
            interaction=interaction,
            item_rows=history.item_rows[listed],
            ratings=history.ratings[listed],
            contributions=shares[listed],
            remainder=interaction - float(np.sum(shares[listed])),
            predicted_rating=float(ratings[0]),
        )

    def _interaction(self, logit: float, user_bias: float, item_row: int) -> float:
        return logit - user_bias - float(self._item_bias[item_row]) - self._global_bias

    def _left_out_one_by_one(self, history: History, item_row: int) -> npt.NDArray[np.float64]:
        """What each rated item changes in the interaction of the folded-in user; 0 for those not tried. -> (n,)."""
        n_rated = len(history.item_rows)
        shares = np.zeros(n_rated)
        if n_rated == 0:
            return shares
        whole = self._interactions_of(history.item_rows[None], history, item_row)[0]
        cosines = self._nearness(np.array([item_row]), history.item_rows)
        tried = np.argsort(-cosines, kind="stable")[:MOST_LEFT_OUT]
        for start in range(0, len(tried), _PER_RUN):
            chunk = tried[start : start + _PER_RUN]
            without = np.repeat(history.item_rows[None], len(chunk), axis=0)
            without[np.arange(len(chunk)), chunk] = self._n_items  # the padding row
            shares[chunk] = whole - self._interactions_of(without, history, item_row)
        return shares

    def _interactions_of(self, item_rows: IndexArray, history: History, item_row: int) -> npt.NDArray[np.float64]:
        """Interaction with one item of users folded in from (B, N) item rows -> (B,)."""
        n_users = len(item_rows)
        profile = None if history.profile is None else np.repeat(history.profile, n_users, axis=0)
        ratings = np.repeat(history.ratings[None], n_users, axis=0)
        factors, bias, _ = self._users.fold_many(item_rows, ratings, profile)
        logits, _ = self._scores.predict(factors, bias, np.full(n_users, item_row))
        return np.array(
            [self._interaction(float(logit), float(b), item_row) for logit, b in zip(logits, bias, strict=True)]
        )


def contributions_of_ratings(
    model: LogitModel, user: UserVector, history: History, item_row: int
) -> npt.NDArray[np.float64]:
    """What each rated item adds to the user's interaction with an item -> (n,).

    The fold-in finds the row x that minimises the squared errors of the ratings and the distance from the prior's
    mean m. There H (x - m) = sum over ratings of a w (e + w a.(x - m)), with a the rated item's factors and a 1 for
    the bias, w the slope of the rating at x, e the error, and H = sum of w^2 a a' + precision. Each rating's term,
    times H^-1 and the factors of the explained item, is its share; the share of m itself stays in the remainder.
    """
    n_rated = len(history.item_rows)
    if n_rated == 0:
        return np.zeros(0)
    x = np.append(user.factors[0], user.bias[0]).astype(np.float64)
    basis = np.ones((n_rated, len(x)))
    basis[:, :-1] = model.item_factors[history.item_rows]
    logits = basis @ x + model.item_bias[history.item_rows] + model.global_bias
    fitted, slopes = _rating_and_slope(logits, model.rating_range)
    jacobian = basis * slopes[:, None]
    hessian = jacobian.T @ jacobian + model.precision
    pull = history.ratings - fitted + jacobian @ (x - model.prior_mean)
    target = np.append(model.item_factors[item_row], 0.0).astype(np.float64)
    shares: npt.NDArray[np.float64] = (jacobian @ np.linalg.solve(hessian, target)) * pull
    return shares


def _rating_and_slope(
    logits: npt.NDArray[np.float64], rating_range: tuple[float, float] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if rating_range is None:
        return logits, np.ones_like(logits)
    low, high = rating_range
    sigmoid = 1 / (1 + np.exp(-logits))
    return low + (high - low) * sigmoid, (high - low) * sigmoid * (1 - sigmoid)
