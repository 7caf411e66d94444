"""Evaluate a model on held-out ratings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Float32Array, Int64Array, RowArray, row_counts
from cofactor_trainer.data.duplicates import pair_numbers
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.metrics import RankingMetrics, RatingMetrics, ranking_metrics, rating_metrics
from cofactor_trainer.scoring.numpy_scorer import predict_ratings, score_all
from cofactor_trainer.scoring.trained_model import Order, TrainedModel

# Scores in memory at a time, 4 bytes each.
_SCORES_PER_BLOCK = 1 << 22


def evaluate_ratings(model: TrainedModel, split: Split) -> RatingMetrics:
    """Measure the error of the predicted ratings on the held-out ones."""
    return rating_metrics(predict_ratings(model, split.validation), split.validation.ratings)


def relevance_threshold(split: Split) -> float:
    """Return the lowest rating of a relevant item: three quarters up the scale, so 4 of 1 to 5 stars."""
    low, high = split.train.rating_min, split.train.rating_max
    return low + 0.75 * (high - low)


@dataclass(frozen=True)
class JudgedRecommendations:
    """The first k recommendations of every user who has a relevant item held out.

    Attributes:
        user_rows: (n_users,).
        item_rows: (n_users, k), best first; -1 where a user has fewer.
        hits: (n_users, k), True where the item is relevant.
        n_relevant: number of relevant items of every user, (n_users,), at least 1.
    """

    user_rows: Int64Array
    item_rows: Int64Array
    hits: BoolArray
    n_relevant: Int64Array


def evaluate_ranking(
    model: TrainedModel,
    split: Split,
    k: int = 10,
    *,
    order: Order | None = None,
    popularity_weight: float = 0.0,
    threshold: float | None = None,
    includes_rated: bool = False,
) -> RankingMetrics:
    """Measure how many relevant held-out items are among the first k recommendations.

    The arguments and errors are those of `judge_recommendations`.
    """
    judged = judge_recommendations(
        model,
        split,
        k,
        order=order,
        popularity_weight=popularity_weight,
        threshold=threshold,
        includes_rated=includes_rated,
    )
    return ranking_metrics(judged.item_rows, judged.hits, judged.n_relevant, split.train.item_rating_counts())


def judge_recommendations(
    model: TrainedModel,
    split: Split,
    k: int = 10,
    *,
    order: Order | None = None,
    popularity_weight: float = 0.0,
    threshold: float | None = None,
    includes_rated: bool = False,
) -> JudgedRecommendations:
    """Recommend to every user who has a relevant item held out, and mark the relevant recommendations.

    Every item is a candidate that the user has not rated in the train part. Metrics on a sample of the candidates would
    not be consistent with these: W. Krichene and S. Rendle, On sampled metrics for item recommendation, 2020.

    Args:
        model: model trained on ``split.train``.
        split: ratings; the held-out ones from ``threshold`` on are relevant.
        k: number of recommendations per user.
        order: order of the recommendations; None for the model's own.
        popularity_weight: weight of log(rating count + 1) that is added to that of the order.
        threshold: lowest relevant rating; None for `relevance_threshold`.
        includes_rated: True to make every item a candidate, also those in the train part.

    Raises:
        InputError: no relevant rating is held out.
    """
    train, threshold = split.train, relevance_threshold(split) if threshold is None else threshold
    order = model.order if order is None else order
    relevant = relevant_items(split, threshold)
    users = np.flatnonzero(relevant.counts).astype(np.int64)
    left_out = left_out_items(split, users, includes_rated=includes_rated)
    if not len(users):
        raise InputError(f"no held-out rating of a known user and item is {threshold:g} or more: nothing is relevant")
    counts = train.item_rating_counts()
    boosts = ((order.popularity_weight + popularity_weight) * np.log1p(counts)).astype(np.float32)
    users_per_block = max(1, _SCORES_PER_BLOCK // train.n_items)
    recommended, hits = [], []
    for block in np.split(users, range(users_per_block, len(users), users_per_block)):
        scores = score_all(model, block, order) + boosts
        scores[left_out.indices(block)] = -math.inf
        rows = top_k_rows(scores, min(k, train.n_items))
        is_relevant = np.zeros(scores.shape, dtype=bool)
        is_relevant[relevant.indices(block)] = True
        recommended.append(rows)
        hits.append(np.take_along_axis(is_relevant, np.maximum(rows, 0), 1) & (rows >= 0))
    return JudgedRecommendations(users, np.concatenate(recommended), np.concatenate(hits), relevant.counts[users])


def top_k_rows(scores: Float32Array, k: int) -> Int64Array:
    """Return the k highest-scoring item rows of every user, best first.

    Among equal scores the lower row comes first. A row is -1 if its score is -inf.

    scores (n_users, n_items) -> (n_users, k).
    """
    first = scores.shape[1] - k
    lowest = np.partition(scores, first, axis=1)[:, first : first + 1]
    chosen = scores >= lowest
    if np.count_nonzero(chosen) > k * len(scores):
        # Of the rows that equal the k-th best score, the first ones complete the k.
        above, equal = scores > lowest, scores == lowest
        chosen = above | (equal & (np.cumsum(equal, axis=1) <= k - above.sum(axis=1, keepdims=True)))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, columns, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(columns, order, 1)
    return np.where(np.take_along_axis(values, order, 1) == -math.inf, -1, best).astype(np.int64)


class ItemsByUser:
    """The distinct items of every user.

    Attributes:
        counts: number of items of every user, (n_users,).
    """

    def __init__(self, user_rows: RowArray, item_rows: RowArray, n_users: int) -> None:
        n_items = int(item_rows.max(initial=0))
        numbers = pair_numbers(user_rows, item_rows, n_items)
        if not (numbers[1:] > numbers[:-1]).all():
            numbers = np.unique(numbers)
        users, self._items = (part.astype(np.int32) for part in np.divmod(numbers, n_items + 1))
        self.counts: Int64Array = row_counts(users, max(n_users, int(users.max(initial=-1)) + 1))[:n_users]
        self._ends = np.cumsum(self.counts)

    def indices(self, users: Int64Array) -> tuple[Int64Array, RowArray]:
        """Return the indices of these users' items in an array of shape (len(users), n_items)."""
        counts, ends = self.counts[users], self._ends[users]
        lines = np.repeat(np.arange(len(users)), counts)
        # Positions ends[i] - counts[i], ..., ends[i] - 1, one user after the other.
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return lines, self._items[np.repeat(ends - counts, counts) + within]


def left_out_items(split: Split, users: Int64Array, *, includes_rated: bool = False) -> ItemsByUser:
    """Return the items that are no candidates: those that users do not want, and usually those of the train part.

    Only those of the given users: they may be a sample of a million.
    """
    train = split.train
    is_judged = np.zeros(train.n_users + 1, bool)
    is_judged[users] = True
    rated = np.zeros(0, np.int64) if includes_rated else np.flatnonzero(is_judged[train.user_rows])
    user_rows, item_rows = train.user_rows[rated], train.item_rows[rated]
    if train.dismissed is not None:
        user_rows = np.concatenate([user_rows, train.dismissed.user_rows])
        item_rows = np.concatenate([item_rows, train.dismissed.item_rows])
    return ItemsByUser(user_rows, item_rows, train.n_users)


def relevant_items(split: Split, threshold: float) -> ItemsByUser:
    """Return the held-out items of every user that are rated ``threshold`` or more, of known users and items."""
    n_users, held_out = split.train.n_users, split.validation
    is_known = (held_out.user_rows < n_users) & (held_out.item_rows < split.train.n_items)
    wanted = (held_out.ratings >= threshold) & is_known
    return ItemsByUser(held_out.user_rows[wanted], held_out.item_rows[wanted], n_users)
