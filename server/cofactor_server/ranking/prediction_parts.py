"""Split the logit of a prediction into the parts of the user, the item, and each rated item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.directions import Float64Array
from cofactor_server.ranking.item_scorer import Predictor
from cofactor_server.ranking.ranker import UserVector
from cofactor_server.ranking.ranking_contributions import RankingParts
from cofactor_server.ranking.rating_contributions import DotProductModel, contributions_of_ratings
from cofactor_server.ranking.user_vectors import History, UserVectors

# The predictions of a network are explained by leaving out one rated item at a time. Every item costs a fold-in, so
# only those most similar to the explained item are left out.
MAX_LEFT_OUT = 64
_FOLD_INS_PER_RUN = 16
# Items that the effect of a user on a network's logits is averaged over.
_SAMPLED_ITEMS = 64


@dataclass(frozen=True, slots=True, eq=False)
class PredictionParts:
    """The parts of a logit.

    score = global_bias + user_bias + item_bias + interaction, and
    interaction = average_interaction + sum of contributions + what the ratings do not explain.

    Attributes:
        average_interaction: interaction of a user with the same profile and without ratings.
        contributions: (n,) of each rated item.
    """

    score: float
    global_bias: float
    user_bias: float
    item_bias: float
    interaction: float
    average_interaction: float
    contributions: Float64Array
    predicted_rating: float


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedItem:
    """The item that is explained.

    Attributes:
        row: its row.
        factors: (q,), as in the table item_factors.
        bias: as in the table item_bias.
        effect: how much users like it regardless of their taste.
    """

    row: int
    factors: FloatArray
    bias: float
    effect: float


@dataclass(frozen=True, slots=True, eq=False)
class ItemTerms:
    """The parts of a logit that are the same for all users.

    Attributes:
        global_bias: added to every logit.
        item_effect: (n_items,), how much users like each item regardless of their taste.
        has_user_effect: True if the effect of a user is not the user's bias alone, because of a network.
    """

    global_bias: float
    item_effect: FloatArray
    has_user_effect: bool

    @property
    def n_items(self) -> int:
        """Return the number of items, which is also the item row that stands for padding."""
        return len(self.item_effect)


class ExplanationGraphs(Predictor, Protocol):
    """The engine's predict and similarity graphs."""

    def similarity(self, item_rows: IndexArray, candidate_rows: IndexArray) -> FloatArray:
        """Compare items: item_rows (M,), candidate_rows (C,) -> cosines (C,)."""


class PredictionSplitter:
    """Splits the predictions of one version.

    A dot product is split exactly, from the equations of the fold-in. For a network, one rated item is left out at a
    time.

    Args:
        users: folds in the users with a rated item left out.
        graphs: predict and compare items.
        item_terms: biases of the items.
        dot_product: None for models that cannot be split exactly.
    """

    def __init__(
        self, users: UserVectors, graphs: ExplanationGraphs, item_terms: ItemTerms, dot_product: DotProductModel | None
    ) -> None:
        self._users = users
        self._graphs = graphs
        self._item_terms = item_terms
        self._dot_product = dot_product

    def over(self, graphs: ExplanationGraphs) -> PredictionSplitter:
        """Return a splitter of the same version that predicts and compares items with other graphs."""
        return PredictionSplitter(self._users, graphs, self._item_terms, self._dot_product)

    def split(
        self,
        user: UserVector,
        average: UserVector,
        history: History,
        item: ExplainedItem,
        logit: RankingParts | None = None,
    ) -> PredictionParts:
        """Split the prediction of one item; `average` is the same user without ratings.

        `logit` has the parts of the logit of a ranking model. Raises NewUsersUnsupported if the model cannot be split
        exactly and cannot embed users.
        """
        scores, ratings = self._graphs.predict(user.factors, user.bias, np.array([item.row]))
        user_bias = float(self._user_effects(user.factors, user.bias)[0])
        if logit is not None:
            user_bias += logit.of_all_items
            contributions = logit.contributions
        elif self._dot_product is None:
            contributions = self._leave_out_one_by_one(history, item)
        else:
            contributions = contributions_of_ratings(self._dot_product, user, average, history, item.factors)
        return PredictionParts(
            score=float(scores[0]),
            global_bias=self._item_terms.global_bias,
            user_bias=user_bias,
            item_bias=item.effect,
            interaction=self._interaction(float(scores[0]), user_bias, item),
            average_interaction=self._interaction_of(average, item),
            contributions=contributions,
            predicted_rating=float(ratings[0]),
        )

    def _interaction_of(self, user: UserVector, item: ExplainedItem) -> float:
        logits, _ = self._graphs.predict(user.factors, user.bias, np.array([item.row]))
        return self._interaction(float(logits[0]), float(self._user_effects(user.factors, user.bias)[0]), item)

    def _interaction(self, logit: float, user_bias: float, item: ExplainedItem) -> float:
        return logit - user_bias - item.effect - self._item_terms.global_bias

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

    def _leave_out_one_by_one(self, history: History, item: ExplainedItem) -> Float64Array:
        """Return how the interaction drops when each rated item is left out -> (n,), 0 for items not left out."""
        n_rated = len(history.item_rows)
        contributions = np.zeros(n_rated)
        if n_rated == 0:
            return contributions
        complete = self._interactions(history.item_rows[None], history, item)[0]
        cosines = self._graphs.similarity(np.array([item.row]), history.item_rows)
        left_out = np.argsort(-cosines, kind="stable")[:MAX_LEFT_OUT]
        for start in range(0, len(left_out), _FOLD_INS_PER_RUN):
            chunk = left_out[start : start + _FOLD_INS_PER_RUN]
            item_rows = np.repeat(history.item_rows[None], len(chunk), axis=0)
            item_rows[np.arange(len(chunk)), chunk] = self._item_terms.n_items  # padding
            contributions[chunk] = complete - self._interactions(item_rows, history, item)
        return contributions

    def _interactions(self, item_rows: IndexArray, history: History, item: ExplainedItem) -> Float64Array:
        """Fold in a user for each of item_rows (B, N) -> their interactions with one item (B,)."""
        n_users = len(item_rows)
        profile = np.repeat(history.profile, n_users, axis=0)
        ratings = np.repeat(history.ratings[None], n_users, axis=0)
        factors, bias, _ = self._users.fold_in_many(item_rows, ratings, profile)
        logits, _ = self._graphs.predict(factors, bias, np.full(n_users, item.row))
        effects = self._user_effects(factors, bias)
        return np.array(
            [self._interaction(float(logit), float(b), item) for logit, b in zip(logits, effects, strict=True)]
        )
