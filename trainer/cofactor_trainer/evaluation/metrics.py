"""Measures of predictions and of recommendations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Float32Array, Int64Array


@dataclass(frozen=True)
class RatingMetrics:
    """How far predicted ratings are from the true ones; lower is better.

    Attributes:
        mse: mean squared error.
        rmse: its root.
        mae: mean absolute error.
    """

    mse: float
    rmse: float
    mae: float


@dataclass(frozen=True)
class RankingMetrics:
    """How good the first k recommendations are; means over the users who have something relevant held out.

    Attributes:
        k: recommendations a user.
        recall: part of the relevant items that is among them.
        ndcg: discounted gain over the best possible one, relevance 0 or 1 (K. Järvelin and J. Kekäläinen, 2002).
        mrr: 1 / place of the first relevant one, 0 where there is none.
        hit_rate: part of the users with at least one relevant one.
        coverage: part of the catalogue that is recommended to anybody.
        popularity_lift: mean rating count of the recommended items over that of the rated ones; above 1 the popular
            get more popular (H. Abdollahpouri et al., The unfairness of popularity bias in recommendation, 2019).
        n_users: users judged.
    """

    k: int
    recall: float
    ndcg: float
    mrr: float
    hit_rate: float
    coverage: float
    popularity_lift: float
    n_users: int


def mean_squared_error(predicted: Float32Array, ratings: Float32Array) -> float:
    """Mean squared error of predicted (n,) for ratings (n,)."""
    return float(np.mean(np.square(predicted.astype(np.float64) - ratings)))


def rating_metrics(predicted: Float32Array, ratings: Float32Array) -> RatingMetrics:
    """Errors of predicted (n,) for ratings (n,)."""
    mse = mean_squared_error(predicted, ratings)
    return RatingMetrics(mse, mse**0.5, float(np.mean(np.abs(predicted.astype(np.float64) - ratings))))


def ranking_metrics(
    recommended: Int64Array, hits: BoolArray, n_relevant: Int64Array, item_rating_counts: Int64Array
) -> RankingMetrics:
    """Judge the recommendations of some users.

    recommended (n_users, k) item rows, best first, -1 where a user has fewer; hits (n_users, k) whether each is
    relevant; n_relevant (n_users,) at least 1; item_rating_counts (n_items,) of the ratings trained on.
    """
    n_users, k = recommended.shape
    discounts = 1 / np.log2(np.arange(k) + 2)
    best_gains = np.cumsum(discounts)[np.minimum(n_relevant, k) - 1]
    first_hits = np.where(hits.any(1), 1 / (hits.argmax(1) + 1), 0)
    given = recommended[recommended >= 0]
    rated_popularity = np.average(item_rating_counts, weights=item_rating_counts)
    return RankingMetrics(
        k=k,
        recall=float(np.mean(hits.sum(1) / n_relevant)),
        ndcg=float(np.mean((hits * discounts).sum(1) / best_gains)),
        mrr=float(first_hits.mean()),
        hit_rate=float(hits.any(1).mean()),
        coverage=len(np.unique(given)) / len(item_rating_counts),
        popularity_lift=float(item_rating_counts[given].mean() / rated_popularity),
        n_users=n_users,
    )
