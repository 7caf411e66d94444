"""Explain a prediction by what each rated item contributes to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import NO_ROWS, FloatArray, IndexArray, typed_table
from cofactor_server.ranking.ranker import Predictor, UserVector
from cofactor_server.ranking.user_vectors import History, UserVectors
from cofactor_server.repository.version_directory import VersionDirectory

# Models other than dot products are explained by leaving out one rated item at a time. Every item costs a fold-in, so
# only those most similar to the explained item are left out.
MAX_LEFT_OUT = 64
_FOLD_INS_PER_RUN = 16
# Items that the effect of a user on a network's logits is averaged over.
_SAMPLED_ITEMS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The parts of a logit.

    score = global_bias + user_bias + item_bias + interaction, and
    interaction = average_interaction + sum of contributions + other_contributions + unexplained.

    Attributes:
        popularity: what Recommend adds to the score by default.
        average_interaction: interaction of a user with the same profile and without ratings.
        contributions: (m,) parallel to `item_rows` and `ratings`, largest absolute value first.
        other_contributions: sum of the contributions that are not listed.
        n_other_ratings: number of these.
    """

    score: float
    global_bias: float
    user_bias: float
    item_bias: float
    interaction: float
    popularity: float
    average_interaction: float
    item_rows: IndexArray
    ratings: FloatArray
    contributions: npt.NDArray[np.float64]
    other_contributions: float
    n_other_ratings: int
    predicted_rating: float

    @property
    def remainder(self) -> float:
        """Return the part of the interaction that the listed contributions leave."""
        return self.interaction - float(np.sum(self.contributions))

    @property
    def unexplained(self) -> float:
        """Return the part that follows neither from the average user nor from the ratings."""
        return self.remainder - self.average_interaction - self.other_contributions


@dataclass(frozen=True, slots=True, eq=False)
class ItemTerms:
    """The parts of a ranking score that are the same for all users.

    Attributes:
        global_bias: added to every logit.
        item_bias: (n_items + 1,), as the graphs add it.
        item_effect: (n_items,), how much users like each item regardless of their taste; what Explain shows.
        has_user_effect: True if the effect of a user is not the user's bias alone, because of a network.
        popularity_weight: factor of the item's log popularity in the default ranking.
        log_popularity: (n_items + 1,).
    """

    global_bias: float
    item_bias: FloatArray
    item_effect: FloatArray
    has_user_effect: bool
    popularity_weight: float
    log_popularity: FloatArray

    @property
    def n_items(self) -> int:
        """Return the number of items, which is also the item row that stands for padding."""
        return len(self.item_bias) - 1


@dataclass(frozen=True, slots=True, eq=False)
class DotProductModel:
    """The parameters of a dot-product model that explain its predictions.

    Attributes:
        item_terms: biases of the items.
        item_factors: (n_items + 1, d).
        rating_range: rating = low + (high - low) * sigmoid(logit); None if the logit is the rating.
        prior_mean: (d + 1,) mean of the prior over user rows, the bias last.
        prior_precision: (d + 1, d + 1) precision of that prior.
    """

    item_terms: ItemTerms
    item_factors: FloatArray
    rating_range: tuple[float, float] | None
    prior_mean: FloatArray
    prior_precision: FloatArray


class ExplanationGraphs(Predictor, Protocol):
    """The engine's predict and similarity graphs."""

    def similarity(self, item_rows: IndexArray, candidate_rows: IndexArray) -> FloatArray:
        """Compare items: item_rows (M,), candidate_rows (C,) -> cosines (C,)."""


class Explainer:
    """Explains the predictions of one version.

    A dot product that predicts ratings is explained exactly, from the normal equations of the fold-in at the user's
    row. Other models are explained by leaving out one rated item at a time.

    Args:
        users: folds in the users with a rated item left out.
        graphs: predict and compare items.
        item_terms: biases and popularity of the items.
        dot_product: None for models that cannot be explained exactly.
    """

    def __init__(
        self, users: UserVectors, graphs: ExplanationGraphs, item_terms: ItemTerms, dot_product: DotProductModel | None
    ) -> None:
        self._users = users
        self._graphs = graphs
        self._item_terms = item_terms
        self._dot_product = dot_product

    def explain(self, user: UserVector, history: History, item_row: int, n_contributions: int) -> Explanation:
        """Explain the prediction of one item for a user with this history.

        Raises NewUsersUnsupported if the model is not a dot product and cannot embed users.
        """
        logits, ratings = self._graphs.predict(user.factors, user.bias, np.array([item_row]))
        average = self._average_user(history)
        user_bias = float(self._user_effects(user.factors, user.bias)[0])
        if self._dot_product is None:
            contributions = self._leave_out_one_by_one(history, item_row)
        else:
            contributions = contributions_of_ratings(self._dot_product, user, average, history, item_row)
        order = np.argsort(-np.abs(contributions), kind="stable")
        listed, others = order[:n_contributions], order[n_contributions:]
        return Explanation(
            score=float(logits[0]),
            global_bias=self._item_terms.global_bias,
            user_bias=user_bias,
            item_bias=float(self._item_terms.item_effect[item_row]),
            interaction=self._interaction(float(logits[0]), user_bias, item_row),
            popularity=self._item_terms.popularity_weight * float(self._item_terms.log_popularity[item_row]),
            average_interaction=self._interaction_of(average, item_row),
            item_rows=history.item_rows[listed],
            ratings=history.ratings[listed],
            contributions=contributions[listed],
            other_contributions=float(np.sum(contributions[others])),
            n_other_ratings=len(others),
            predicted_rating=float(ratings[0]),
        )

    def _average_user(self, history: History) -> UserVector:
        """Return the user with the same profile and without ratings: the mean of the prior."""
        if self._dot_product is not None and not history.profile.any():
            mean = self._dot_product.prior_mean
            return UserVector(mean[None, :-1], mean[-1:])
        return self._users.fold_in(replace(history, item_rows=NO_ROWS, ratings=np.zeros(0, dtype=np.float32))).vector

    def _interaction_of(self, user: UserVector, item_row: int) -> float:
        logits, _ = self._graphs.predict(user.factors, user.bias, np.array([item_row]))
        return self._interaction(float(logits[0]), float(self._user_effects(user.factors, user.bias)[0]), item_row)

    def _interaction(self, logit: float, user_bias: float, item_row: int) -> float:
        return logit - user_bias - float(self._item_terms.item_effect[item_row]) - self._item_terms.global_bias

    def _user_effects(self, factors: FloatArray, bias: FloatArray) -> FloatArray:
        """Return the part of a logit that depends on the user only: factors (B, d), bias (B,) -> (B,).

        In a network it is the mean over a sample of the items of what the other parts leave of the user's logits.
        """
        if not self._item_terms.has_user_effect:
            return bias
        rows = np.unique(np.linspace(0, self._item_terms.n_items - 1, _SAMPLED_ITEMS).astype(np.int64))
        logits, _ = self._graphs.predict(
            np.repeat(factors, len(rows), axis=0), np.repeat(bias, len(rows)), np.tile(rows, len(factors))
        )
        rest = (
            logits.reshape(len(factors), -1)
            - self._item_terms.item_effect[rows]
            - np.float32(self._item_terms.global_bias)
        )
        effects: FloatArray = rest.mean(axis=1)
        return effects

    def _leave_out_one_by_one(self, history: History, item_row: int) -> npt.NDArray[np.float64]:
        """Return how the interaction drops when each rated item is left out -> (n,), 0 for items not left out."""
        n_rated = len(history.item_rows)
        contributions = np.zeros(n_rated)
        if n_rated == 0:
            return contributions
        complete = self._interactions(history.item_rows[None], history, item_row)[0]
        cosines = self._graphs.similarity(np.array([item_row]), history.item_rows)
        left_out = np.argsort(-cosines, kind="stable")[:MAX_LEFT_OUT]
        for start in range(0, len(left_out), _FOLD_INS_PER_RUN):
            chunk = left_out[start : start + _FOLD_INS_PER_RUN]
            item_rows = np.repeat(history.item_rows[None], len(chunk), axis=0)
            item_rows[np.arange(len(chunk)), chunk] = self._item_terms.n_items  # padding
            contributions[chunk] = complete - self._interactions(item_rows, history, item_row)
        return contributions

    def _interactions(self, item_rows: IndexArray, history: History, item_row: int) -> npt.NDArray[np.float64]:
        """Fold in a user for each of item_rows (B, N) -> their interactions with one item (B,)."""
        n_users = len(item_rows)
        profile = np.repeat(history.profile, n_users, axis=0)
        ratings = np.repeat(history.ratings[None], n_users, axis=0)
        factors, bias, _ = self._users.fold_in_many(item_rows, ratings, profile)
        logits, _ = self._graphs.predict(factors, bias, np.full(n_users, item_row))
        effects = self._user_effects(factors, bias)
        return np.array(
            [self._interaction(float(logit), float(b), item_row) for logit, b in zip(logits, effects, strict=True)]
        )


def build_explainer(directory: VersionDirectory, users: UserVectors, graphs: ExplanationGraphs) -> Explainer:
    """Build the explainer of a version.

    It explains exactly if the version is a dot product, predicts ratings and has the tables of the prior, which older
    versions lack. The fold-in of a ranking model has other normal equations.
    """
    manifest, tables = directory.manifest, directory.tables
    item_bias, has_effects = typed_table(tables, "item_bias", np.float32), "item_effect" in tables
    item_terms = ItemTerms(
        manifest.global_bias,
        item_bias,
        typed_table(tables, "item_effect", np.float32) if has_effects else item_bias[:-1],
        has_effects and manifest.architecture != "dot-product",
        manifest.default_popularity_weight,
        typed_table(tables, "item_log_popularity", np.float32),
    )
    is_exact = manifest.architecture == "dot-product" and manifest.objective == "rating"
    if not is_exact or "user_prior_mean" not in tables:
        return Explainer(users, graphs, item_terms, None)
    rating_range = None
    if manifest.HasField("rating_range"):
        rating_range = (manifest.rating_range.low, manifest.rating_range.high)
    dot_product = DotProductModel(
        item_terms,
        typed_table(tables, "item_factors", np.float32),
        rating_range,
        typed_table(tables, "user_prior_mean", np.float32),
        typed_table(tables, "user_prior_precision", np.float32),
    )
    return Explainer(users, graphs, item_terms, dot_product)


def contributions_of_ratings(
    model: DotProductModel, user: UserVector, average: UserVector, history: History, item_row: int
) -> npt.NDArray[np.float64]:
    """Return what each rated item contributes to the user's interaction with an item -> (n,).

    The fold-in finds the user row x that minimises the squared errors of the ratings plus the distance from the prior's
    mean m, the average user. At x, H (x - m) = sum over ratings of a w (e + w a.(x - m)), where a are the rated item's
    factors with a 1 for the bias, w is the slope of the rating at x, e is its error, and H = sum of w^2 a a' +
    precision. An item's contribution is its term of that sum, times H^-1 and the factors of the explained item.
    """
    n_rated = len(history.item_rows)
    if n_rated == 0:
        return np.zeros(0)
    x = np.append(user.factors[0], user.bias[0]).astype(np.float64)
    mean = np.append(average.factors[0], average.bias[0]).astype(np.float64)
    basis = np.ones((n_rated, len(x)))
    basis[:, :-1] = model.item_factors[history.item_rows]
    logits = basis @ x + model.item_terms.item_bias[history.item_rows] + model.item_terms.global_bias
    fitted, slopes = _ratings_and_slopes(logits, model.rating_range)
    jacobian = basis * slopes[:, None]
    hessian = jacobian.T @ jacobian + model.prior_precision
    pull = history.ratings - fitted + jacobian @ (x - mean)
    target = np.append(model.item_factors[item_row], 0.0).astype(np.float64)
    contributions: npt.NDArray[np.float64] = (jacobian @ np.linalg.solve(hessian, target)) * pull
    return contributions


def _ratings_and_slopes(
    logits: npt.NDArray[np.float64], rating_range: tuple[float, float] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if rating_range is None:
        return logits, np.ones_like(logits)
    low, high = rating_range
    sigmoid = 1 / (1 + np.exp(-logits))
    return low + (high - low) * sigmoid, (high - low) * sigmoid * (1 - sigmoid)
