"""Compute metrics of predicted ratings and of recommendations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import BoolArray, Float32Array, Int64Array


@dataclass(frozen=True)
class RatingMetrics:
    """Errors of predicted ratings; lower is better.

    Attributes:
        mse: mean squared error.
        rmse: root mean squared error.
        mae: mean absolute error.
    """

    mse: float
    rmse: float
    mae: float


@dataclass(frozen=True)
class RankingMetrics:
    """Quality of the first k recommendations.

    Recall, NDCG, MRR and hit rate are means over the users who have a relevant item held out.

    Attributes:
        k: number of recommendations per user.
        recall: share of the relevant items that are recommended.
        ndcg: discounted cumulative gain as a share of the best possible one, relevance 0 or 1 (K. Järvelin and
            J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002).
        mrr: 1 / rank of the first relevant item, 0 if there is none (E. Voorhees, The TREC-8 question answering track
            report, 1999).
        hit_rate: share of the users with at least one relevant item among the k (M. Deshpande and G. Karypis,
            Item-based top-N recommendation algorithms, 2004).
        coverage: share of the catalogue that is recommended to at least one user (J. Herlocker et al., Evaluating
            collaborative filtering recommender systems, 2004).
        popularity_lift: mean rating count of the recommended items, divided by that of the rated items. Above 1,
            popular items become more popular (H. Abdollahpouri et al., The unfairness of popularity bias in
            recommendation, 2019).
        first_item_share: share of the users whose first recommendation is the item that is first most often.
        n_users: number of users who have a relevant item held out.
    """

    k: int
    recall: float
    ndcg: float
    mrr: float
    hit_rate: float
    coverage: float
    popularity_lift: float
    first_item_share: float
    n_users: int


def mean_squared_error(predicted: Float32Array, ratings: Float32Array) -> float:
    """Return the mean squared error of predicted (n,) for ratings (n,)."""
    return float(np.mean(np.square(predicted.astype(np.float64) - ratings)))


def rating_metrics(predicted: Float32Array, ratings: Float32Array) -> RatingMetrics:
    """Compute the errors of predicted (n,) for ratings (n,)."""
    mse = mean_squared_error(predicted, ratings)
    return RatingMetrics(mse, mse**0.5, float(np.mean(np.abs(predicted.astype(np.float64) - ratings))))


def ranking_metrics(
    recommended: Int64Array, hits: BoolArray, n_relevant: Int64Array, item_rating_counts: Int64Array
) -> RankingMetrics:
    """Compute the quality of recommendations.

    Args:
        recommended: item rows (n_users, k), best first; -1 where a user has fewer.
        hits: (n_users, k), True where the recommended item is relevant.
        n_relevant: number of relevant items of every user, (n_users,), at least 1.
        item_rating_counts: number of training ratings of every item, (n_items,).
    """
    n_users, k = recommended.shape
    first_hits = np.where(hits.any(1), 1 / (hits.argmax(1) + 1), 0)
    given = recommended[recommended >= 0]
    rated_popularity = np.average(item_rating_counts, weights=item_rating_counts)
    return RankingMetrics(
        k=k,
        recall=float(np.mean(hits.sum(1) / n_relevant)),
        ndcg=float(ndcg_by_user(hits, n_relevant).mean()),
        mrr=float(first_hits.mean()),
        hit_rate=float(hits.any(1).mean()),
        coverage=len(np.unique(given)) / len(item_rating_counts),
        popularity_lift=float(item_rating_counts[given].mean() / rated_popularity) if len(given) else 0.0,
        first_item_share=float(np.unique(recommended[:, 0], return_counts=True)[1].max() / n_users),
        n_users=n_users,
    )


def ndcg_by_user(hits: BoolArray, n_relevant: Int64Array) -> npt.NDArray[np.float64]:
    """Return each user's NDCG: hits (n_users, k), n_relevant (n_users,), at least 1 -> (n_users,)."""
    k = hits.shape[1]
    discounts = 1 / np.log2(np.arange(k) + 2)
    best_gains = np.cumsum(discounts)[np.minimum(n_relevant, k) - 1]
    ndcg: npt.NDArray[np.float64] = (hits * discounts).sum(1) / best_gains
    return ndcg
