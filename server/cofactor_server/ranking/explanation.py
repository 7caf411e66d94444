"""Explain a prediction, and the place of an item in a list, by what each rated item contributes to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.arrays import NO_ROWS, FloatArray, IndexArray, typed_table
from cofactor_server.ranking.directions import Float64Array
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.prediction_parts import (
    ExplainedItem,
    ExplanationGraphs,
    ItemTerms,
    PredictionParts,
    PredictionSplitter,
)
from cofactor_server.ranking.ranker import UserVector
from cofactor_server.ranking.ranking_contributions import RankingModel, RankingParts, RankingTables
from cofactor_server.ranking.rating_contributions import DotProductModel
from cofactor_server.ranking.reasons import Reason, group_reasons
from cofactor_server.ranking.user_vectors import History, UserVectors
from cofactor_server.repository.version_directory import VersionDirectory


@dataclass(frozen=True, slots=True, eq=False)
class ScoreParts:
    """The parts of the score that orders a list.

    score = item_part + user_part + contributions of the reasons + other_part + unexplained.

    Attributes:
        score: rating_weight * rating logit + ranking_weight * ranking_logit + popularity.
        order: the weights.
        ranking_logit: logit of the ranking part; 0 without one.
        popularity: part of the item's popularity.
        item_part: score of the item for the average user, without what that user adds for all items alike.
        user_part: what the user adds for all items alike.
        reasons: rated items, each with those similar to it.
        other_part: sum of the contributions of the ratings that are in no reason.
        n_other_ratings: number of these.
        unexplained: the rest.
    """

    score: float
    order: Order
    ranking_logit: float
    popularity: float
    item_part: float
    user_part: float
    reasons: Sequence[Reason]
    other_part: float
    n_other_ratings: int
    unexplained: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The parts of a prediction and of a place in a list.

    Attributes:
        history: the rated items and those of events, which `listed` and the reasons point into.
        prediction: the parts of the prediction.
        listed: (m,) positions of the rated items that contribute most to the prediction.
        ranking: the parts of the score that orders the list.
    """

    history: History
    prediction: PredictionParts
    listed: IndexArray
    ranking: ScoreParts

    @property
    def remainder(self) -> float:
        """Return the part of the interaction that the listed contributions leave."""
        return self.prediction.interaction - float(np.sum(self.prediction.contributions[self.listed]))

    @property
    def other_contributions(self) -> float:
        """Return the sum of the contributions that are not listed."""
        return float(np.sum(np.delete(self.prediction.contributions, self.listed)))

    @property
    def unexplained(self) -> float:
        """Return the part that follows neither from the average user nor from the ratings."""
        return self.remainder - self.prediction.average_interaction - self.other_contributions


class Explainer:
    """Explains the predictions and the lists of one version.

    Args:
        users: folds in users without ratings.
        splitter: splits predictions.
        scorer: scores and compares items.
        ranking: the dot product that ranks; None in versions without one.
        prior_mean: (d + 1,) the average user of a dot product that predicts ratings, the bias last; None otherwise.
        item_of: returns the item of a row.
    """

    def __init__(
        self,
        users: UserVectors,
        splitter: PredictionSplitter,
        scorer: ItemScorer,
        ranking: RankingModel | None,
        prior_mean: FloatArray | None,
        item_of: Callable[[int], ExplainedItem],
    ) -> None:
        self._users = users
        self._splitter = splitter
        self._scorer = scorer
        self._ranking = ranking
        self._prior_mean = prior_mean
        self._item_of = item_of

    def over(self, graphs: ExplanationGraphs, scorer: ItemScorer, item_of: Callable[[int], ExplainedItem]) -> Explainer:
        """Return an explainer of the same version over another list of items."""
        splitter = self._splitter.over(graphs)
        return Explainer(self._users, splitter, scorer, self._ranking, self._prior_mean, item_of)

    def explain(
        self, user: UserVector, history: History, item_row: int, n_contributions: int, order: Order
    ) -> Explanation:
        """Explain the prediction of one item for a user with this history, and its place in a list of this order.

        Raises NewUsersUnsupported if that takes fold-ins and the model cannot embed users.
        """
        average, item = self._average_user(history), self._item_of(item_row)
        ranking = None
        if self._ranking is not None:
            columns = self._scorer.ranking_columns
            bias = float(item.factors[-1]) if self._scorer.has_ranking_part else item.bias
            ranking = self._ranking.explain(
                user.factors[0, columns],
                average.factors[0, columns],
                history.item_rows,
                history.weights,
                (item.factors[columns], bias),
            )
        if self._scorer.has_ranking_part:
            prediction = self._splitter.split(user, average, history.rated, item)
            prediction = replace(prediction, contributions=_of_all_items(history, prediction.contributions))
        else:  # in a ranking model the two scores have the same logit
            prediction, ranking = self._splitter.split(user, average, history, item, ranking), None
        listed = np.argsort(-np.abs(prediction.contributions), kind="stable")
        if history.both is not None:
            listed = listed[history.both.has_rating[listed]]
        listed = listed[:n_contributions]
        score = self._split_score(prediction, ranking, user, item_row, order)
        return Explanation(
            history, prediction, listed, self._with_reasons(score, prediction, ranking, history, n_contributions)
        )

    def _average_user(self, history: History) -> UserVector:
        """Return the user with the same profile and without ratings: the mean of the prior."""
        if self._prior_mean is not None and not history.profile.any():
            return UserVector(self._prior_mean[None, :-1], self._prior_mean[-1:])
        return self._users.fold_in(History(NO_ROWS, np.zeros(0, dtype=np.float32), history.profile)).vector

    def _split_score(
        self,
        prediction: PredictionParts,
        ranking: RankingParts | None,
        user: UserVector,
        item_row: int,
        order: Order,
    ) -> ScoreParts:
        """Split the score into all parts but those that the ratings contribute, which stay in `unexplained`."""
        popularity = order.popularity_weight * self._scorer.log_popularity(item_row)
        item_part = order.rating_weight * (prediction.item_bias + prediction.average_interaction) + popularity
        user_part = order.rating_weight * (prediction.global_bias + prediction.user_bias)
        score, logit = order.rating_weight * prediction.score + popularity, 0.0
        if ranking is not None:
            logit = float(self._scorer.ranking_logits(user.factors, np.array([item_row]))[0])
            item_part += order.ranking_weight * ranking.average
            user_part += order.ranking_weight * ranking.of_all_items
            score += order.ranking_weight * logit
        rest = score - item_part - user_part
        return ScoreParts(score, order, logit, popularity, item_part, user_part, (), 0.0, 0, rest)

    def _with_reasons(
        self,
        score: ScoreParts,
        prediction: PredictionParts,
        ranking: RankingParts | None,
        history: History,
        n_reasons: int,
    ) -> ScoreParts:
        contributions = score.order.rating_weight * prediction.contributions
        if ranking is not None:
            contributions = contributions + score.order.ranking_weight * ranking.contributions
        reasons, others = group_reasons(contributions, self._scorer.unit_vectors(history.item_rows), n_reasons)
        return replace(
            score,
            reasons=reasons,
            other_part=float(np.sum(contributions[others])),
            n_other_ratings=len(others),
            unexplained=score.unexplained - float(np.sum(contributions)),
        )


def _of_all_items(history: History, contributions: Float64Array) -> Float64Array:
    """Return the contributions of all items of a history from those of the rated ones: (m,) -> (n,)."""
    if history.both is None:
        return contributions
    spread = np.zeros(len(history.item_rows))
    spread[history.both.has_rating] = contributions
    return spread


def build_explainer(
    directory: VersionDirectory, users: UserVectors, graphs: ExplanationGraphs, scorer: ItemScorer
) -> Explainer:
    """Build the explainer of a version.

    It explains predictions exactly if they are dot products and the version has the tables of the prior, which older
    versions lack.
    """
    manifest, tables = directory.manifest, directory.tables
    has_effects = "item_effect" in tables
    item_terms = ItemTerms(
        manifest.global_bias,
        typed_table(tables, _effect_table(directory), np.float32)[: manifest.item_count],
        has_effects and manifest.architecture != "dot-product",
    )
    dot_product = _dot_product(directory)
    return Explainer(
        users,
        PredictionSplitter(users, graphs, item_terms, dot_product),
        scorer,
        _ranking_model(directory, scorer.ranking_columns),
        None if dot_product is None or scorer.has_ranking_part else dot_product.prior_mean,
        items_of(directory),
    )


def items_of(directory: VersionDirectory) -> Callable[[int], ExplainedItem]:
    """Return a function that returns the item of a row of these tables."""
    factors = typed_table(directory.tables, "item_factors", np.float32)
    bias = typed_table(directory.tables, "item_bias", np.float32)
    effect = typed_table(directory.tables, _effect_table(directory), np.float32)
    return lambda row: ExplainedItem(row, factors[row], float(bias[row]), float(effect[row]))


def _effect_table(directory: VersionDirectory) -> str:
    return "item_effect" if "item_effect" in directory.tables else "item_bias"


def _dot_product(directory: VersionDirectory) -> DotProductModel | None:
    """Return the dot product that predicts ratings; None if the version has none, or lacks its prior."""
    manifest, tables = directory.manifest, directory.tables
    is_exact = manifest.architecture == "dot-product" and manifest.objective == "rating"
    if not is_exact or "user_prior_mean" not in tables:
        return None
    rating_range = None
    if manifest.HasField("rating_range"):
        rating_range = (manifest.rating_range.low, manifest.rating_range.high)
    return DotProductModel(
        manifest.global_bias,
        typed_table(tables, "item_bias", np.float32),
        typed_table(tables, "item_factors", np.float32)[:, : _n_rating_columns(manifest)],
        rating_range,
        typed_table(tables, "user_prior_mean", np.float32),
        typed_table(tables, "user_prior_precision", np.float32),
    )


def _n_rating_columns(manifest: Manifest) -> int:
    return int(manifest.item_factor_count - manifest.ranking_factor_count)


def _ranking_model(directory: VersionDirectory, columns: slice) -> RankingModel | None:
    """Return the ranking part of a version, or the whole of a ranking model; None for other versions.

    columns are those of the users' and the items' factors that the dot product multiplies.
    """
    manifest, tables = directory.manifest, directory.tables
    is_ranking_model = manifest.objective == "ranking" and manifest.architecture == "dot-product"
    if not manifest.ranking_factor_count and not is_ranking_model:
        return None
    items = typed_table(tables, "item_factors", np.float32)[: manifest.item_count]
    bias = items[:, -1] if manifest.ranking_factor_count else typed_table(tables, "item_bias", np.float32)[: len(items)]
    prior = [
        typed_table(tables, name, np.float32) if name in tables else None
        for name in ("ranking_prior_mean", "ranking_prior_covariance")
    ]
    users = typed_table(tables, "user_factors", np.float32)[: manifest.user_count, columns]
    scale = (manifest.rating_min, manifest.rating_max)
    draws_per_weight = manifest.events.fold_in_scale if manifest.HasField("events") else None
    return RankingModel(RankingTables(users, items[:, columns], bias, prior[0], prior[1], scale, draws_per_weight))
