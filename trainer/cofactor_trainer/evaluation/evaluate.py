"""How good a model is on ratings that it has not seen."""

from __future__ import annotations

import math

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RowArray
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.metrics import RankingMetrics, RatingMetrics, ranking_metrics, rating_metrics
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits, predict_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel

_SCORES_AT_ONCE = 1 << 22


def evaluate_ratings(model: TrainedModel, split: Split) -> RatingMetrics:
    """Errors of the predicted ratings."""
    return rating_metrics(predict_ratings(model, split.validation), split.validation.ratings)


def relevant_from(split: Split) -> float:
    """The rating from which on an item is relevant: three quarters up the scale, 4 of 1 to 5 stars."""
    low, high = split.train.rating_min, split.train.rating_max
    return low + 0.75 * (high - low)


def evaluate_ranking(
    model: TrainedModel, split: Split, k: int = 10, *, popularity_weight: float = 0.0, threshold: float | None = None
) -> RankingMetrics:
    """Judge the first k recommendations: every item a candidate that the user has not rated in the train part.

    Args:
        model: trained on ``split.train``.
        split: where the held-out ratings from ``threshold`` on are what should be found.
        k: recommendations a user.
        popularity_weight: of log(rating count + 1) in the score, 0 for the plain prediction.
        threshold: lowest relevant rating, `relevant_from` where None.

    Raises:
        InputError: nothing relevant is held out.
    """
    train, threshold = split.train, relevant_from(split) if threshold is None else threshold
    held_out = split.validation
    wanted = (
        (held_out.ratings >= threshold) & (held_out.user_rows < train.n_users) & (held_out.item_rows < train.n_items)
    )
    relevant = _Lists(held_out.user_rows[wanted], held_out.item_rows[wanted], train.n_users)
    rated = _Lists(train.user_rows, train.item_rows, train.n_users)
    users = np.flatnonzero(relevant.counts).astype(np.int64)
    if not len(users):
        raise InputError(f"no held-out rating of a known user and item is {threshold:g} or more: nothing is relevant")
    counts = train.item_rating_counts()
    boosts = (popularity_weight * np.log1p(counts)).astype(np.float32)
    per_part = max(1, _SCORES_AT_ONCE // train.n_items)
    recommended, hits = [], []
    for part in np.split(users, range(per_part, len(users), per_part)):
        scores = predict_all_logits(model, part) + boosts
        scores[rated.of(part)] = -math.inf
        rows = top_rows(scores, min(k, train.n_items))
        is_relevant = np.zeros(scores.shape, dtype=bool)
        is_relevant[relevant.of(part)] = True
        recommended.append(rows)
        hits.append(np.take_along_axis(is_relevant, np.maximum(rows, 0), 1) & (rows >= 0))
    return ranking_metrics(np.concatenate(recommended), np.concatenate(hits), relevant.counts[users], counts)


def top_rows(scores: Float32Array, k: int) -> Int64Array:
    """The k best columns of each line, best first, the lower one first among equals, -1 where the score is -inf.

    scores (n, n_items) -> (n, k).
    """
    lowest = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above = scores > lowest
    # Of the columns that equal the k-th best score, the first ones complete the k.
    equal = scores == lowest
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= k - above.sum(axis=1, keepdims=True)))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, columns, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(columns, order, 1)
    return np.where(np.take_along_axis(values, order, 1) == -math.inf, -1, best).astype(np.int64)


class _Lists:
    """The items of each user, without repetition."""

    def __init__(self, user_rows: RowArray, item_rows: RowArray, n_users: int) -> None:
        pairs = np.unique(np.stack([user_rows, item_rows]), axis=1)
        self._items = pairs[1]
        self.counts: Int64Array = np.bincount(pairs[0], minlength=n_users).astype(np.int64)[:n_users]
        self._ends = np.cumsum(self.counts)

    def of(self, users: Int64Array) -> tuple[Int64Array, RowArray]:
        """Indices into (len(users), n_items) of what these users have."""
        counts, ends = self.counts[users], self._ends[users]
        lines = np.repeat(np.arange(len(users)), counts)
        # Positions counts[i] before ends[i], ..., ends[i] - 1, one user after the other.
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return lines, self._items[np.repeat(ends - counts, counts) + within]
