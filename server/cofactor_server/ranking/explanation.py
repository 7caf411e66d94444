"""Explain a prediction by what each rated item contributes to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import FloatArray, IndexArray, typed_table
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
class ItemBiases:
    """The part of a logit that is the same for all users.

    Attributes:
        global_bias: added to every logit.
        item_bias: (n_items + 1,), as the graphs add it.
        item_effect: (n_items,), how much users like each item regardless of their taste; what Explain shows.
        has_user_effect: True if the effect of a user is not the user's bias alone, because of a network.
    """

    global_bias: float
    item_bias: FloatArray
    item_effect: FloatArray
    has_user_effect: bool

    @property
    def n_items(self) -> int:
        """Return the number of items, which is also the item row that stands for padding."""
        return len(self.item_bias) - 1


@dataclass(frozen=True, slots=True, eq=False)
class DotProductModel:
    """The parameters of a dot-product model that explain its predictions.

    Attributes:
        biases: biases of the items.
        item_factors: (n_items + 1, d).
        rating_range: rating = low + (high - low) * sigmoid(logit); None if the logit is the rating.
        prior_mean: (d + 1,) mean of the prior over user rows, the bias last.
        prior_precision: (d + 1, d + 1) precision of that prior.
    """

    biases: ItemBiases
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

    A dot product is explained exactly, from the normal equations of the fold-in at the user's row. Other models are
    explained by leaving out one rated item at a time.

    Args:
        users: folds in the users with a rated item left out.
        graphs: predict and compare items.
        biases: biases of the items.
        dot_product: None for models that cannot be explained exactly.
    """

    def __init__(
        self, users: UserVectors, graphs: ExplanationGraphs, biases: ItemBiases, dot_product: DotProductModel | None
    ) -> None:
        self._users = users
        self._graphs = graphs
        self._biases = biases
        self._dot_product = dot_product

    def explain(self, user: UserVector, history: History, item_row: int, n_contributions: int) -> Explanation:
        """Explain the prediction of one item for a user with this history.

        Raises NewUsersUnsupported if the model is not a dot product and cannot embed users.
        """
        logits, ratings = self._graphs.predict(user.factors, user.bias, np.array([item_row]))
        user_bias = float(self._user_effects(user.factors, user.bias)[0])
        interaction = self._interaction(float(logits[0]), user_bias, item_row)
        if self._dot_product is None:
            contributions = self._leave_out_one_by_one(history, item_row)
        else:
            contributions = contributions_of_ratings(self._dot_product, user, history, item_row)
        listed = np.argsort(-np.abs(contributions), kind="stable")[:n_contributions]
        return Explanation(
            score=float(logits[0]),
            global_bias=self._biases.global_bias,
            user_bias=user_bias,
            item_bias=float(self._biases.item_effect[item_row]),
            interaction=interaction,
            item_rows=history.item_rows[listed],
            ratings=history.ratings[listed],
            contributions=contributions[listed],
            remainder=interaction - float(np.sum(contributions[listed])),
            predicted_rating=float(ratings[0]),
        )

    def _interaction(self, logit: float, user_bias: float, item_row: int) -> float:
        return logit - user_bias - float(self._biases.item_effect[item_row]) - self._biases.global_bias

    def _user_effects(self, factors: FloatArray, bias: FloatArray) -> FloatArray:
        """Return the part of a logit that depends on the user only: factors (B, d), bias (B,) -> (B,).

        In a network it is the mean over a sample of the items of what the other parts leave of the user's logits.
        """
        if not self._biases.has_user_effect:
            return bias
        rows = np.unique(np.linspace(0, self._biases.n_items - 1, _SAMPLED_ITEMS).astype(np.int64))
        logits, _ = self._graphs.predict(
            np.repeat(factors, len(rows), axis=0), np.repeat(bias, len(rows)), np.tile(rows, len(factors))
        )
        rest = logits.reshape(len(factors), -1) - self._biases.item_effect[rows] - np.float32(self._biases.global_bias)
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
            item_rows[np.arange(len(chunk)), chunk] = self._biases.n_items  # padding
            contributions[chunk] = complete - self._interactions(item_rows, history, item_row)
        return contributions

    def _interactions(self, item_rows: IndexArray, history: History, item_row: int) -> npt.NDArray[np.float64]:
        """Fold in a user for each of item_rows (B, N) -> their interactions with one item (B,)."""
        n_users = len(item_rows)
        profile = None if history.profile is None else np.repeat(history.profile, n_users, axis=0)
        ratings = np.repeat(history.ratings[None], n_users, axis=0)
        factors, bias, _ = self._users.fold_in_many(item_rows, ratings, profile)
        logits, _ = self._graphs.predict(factors, bias, np.full(n_users, item_row))
        effects = self._user_effects(factors, bias)
        return np.array(
            [self._interaction(float(logit), float(b), item_row) for logit, b in zip(logits, effects, strict=True)]
        )


def build_explainer(directory: VersionDirectory, users: UserVectors, graphs: ExplanationGraphs) -> Explainer:
    """Build the explainer of a version.

    It explains exactly if the version is a dot product and has the tables of the prior, which older versions lack.
    """
    manifest, tables = directory.manifest, directory.tables
    item_bias = typed_table(tables, "item_bias", np.float32)
    if "item_effect" in tables:
        item_effect = typed_table(tables, "item_effect", np.float32)
        biases = ItemBiases(manifest.global_bias, item_bias, item_effect, manifest.architecture != "dot-product")
    else:
        biases = ItemBiases(manifest.global_bias, item_bias, item_bias[:-1], has_user_effect=False)
    if manifest.architecture != "dot-product" or "user_prior_mean" not in tables:
        return Explainer(users, graphs, biases, None)
    rating_range = None
    if manifest.HasField("rating_range"):
        rating_range = (manifest.rating_range.low, manifest.rating_range.high)
    dot_product = DotProductModel(
        biases,
        typed_table(tables, "item_factors", np.float32),
        rating_range,
        typed_table(tables, "user_prior_mean", np.float32),
        typed_table(tables, "user_prior_precision", np.float32),
    )
    return Explainer(users, graphs, biases, dot_product)


def contributions_of_ratings(
    model: DotProductModel, user: UserVector, history: History, item_row: int
) -> npt.NDArray[np.float64]:
    """Return what each rated item contributes to the user's interaction with an item -> (n,).

    The fold-in finds the user row x that minimises the squared errors of the ratings plus the distance from the prior's
    mean m. At x, H (x - m) = sum over ratings of a w (e + w a.(x - m)), where a are the rated item's factors with a 1
    for the bias, w is the slope of the rating at x, e is its error, and H = sum of w^2 a a' + precision. An item's
    contribution is its term of that sum, times H^-1 and the factors of the explained item. The contribution of m itself
    stays in the remainder.
    """
    n_rated = len(history.item_rows)
    if n_rated == 0:
        return np.zeros(0)
    x = np.append(user.factors[0], user.bias[0]).astype(np.float64)
    basis = np.ones((n_rated, len(x)))
    basis[:, :-1] = model.item_factors[history.item_rows]
    logits = basis @ x + model.biases.item_bias[history.item_rows] + model.biases.global_bias
    fitted, slopes = _ratings_and_slopes(logits, model.rating_range)
    jacobian = basis * slopes[:, None]
    hessian = jacobian.T @ jacobian + model.prior_precision
    pull = history.ratings - fitted + jacobian @ (x - model.prior_mean)
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
