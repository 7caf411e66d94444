"""Measure the recall of a candidate index, and choose how many clusters a query probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, Int64Array
from cofactor_trainer.export.ann_index.vectors import Arrays, query_factors, query_vectors
from cofactor_trainer.scoring.trained_model import Order

# Candidates of a query. The same for every k, so that the pages of a response continue each other.
CANDIDATES = 256
# Recall that the probe count has to reach, by k.
TARGET_RECALL = {10: 0.99, 100: 0.95}
# Scores that are computed exactly to measure the recall; they determine the number of users.
MEASURED_SCORES = 1_000_000_000
FEWEST_USERS, MOST_USERS = 200, 1000
# Scores in memory at a time, 4 bytes each.
SCORES_PER_BLOCK = 1 << 25
# Scores that differ by less count as equal: the order of summation changes the last bits.
TOLERANCE = 1e-5


class SearchableIndex(Protocol):
    """The method of a faiss index that a measurement needs."""

    def search(self, queries: Float32Array, k: int, *, params: Any) -> tuple[Float32Array, Int64Array]:
        """Return scores and rows of the k best items of every query, (B, k) each; rows are -1 where there are fewer."""


@dataclass(frozen=True)
class RecallSample:
    """Users to measure the recall on, and their exact results.

    Attributes:
        factors: weighted user factors, (U, d), by order.
        rated: item rows that each user has rated, which are never recommended.
        thresholds: k-th best score of every user, (U,), by order and k.
        counts: number of results of every user, (U,), by k: k, or fewer if fewer items are left.
    """

    factors: Mapping[Order, Float32Array]
    rated: Sequence[Int64Array]
    thresholds: Mapping[tuple[Order, int], Float32Array]
    counts: Mapping[int, Int64Array]


def draw_recall_sample(arrays: Arrays, orders: Sequence[Order], n_ranking: int = 0) -> RecallSample:
    """Draw at most MOST_USERS users and score every item for them exactly, except the items they rated.

    arrays are those of a dot-product version, including the rated items. n_ranking is the number of columns of its
    ranking part.
    """
    n_items, n_users = len(arrays["item_bias"]) - 1, len(arrays["user_bias"]) - 1
    wanted = int(np.clip(MEASURED_SCORES // (n_items * len(orders)), FEWEST_USERS, MOST_USERS))
    users = np.sort(np.random.default_rng(0).permutation(n_users)[:wanted])
    offsets, rated_rows = arrays["rated.offsets"], arrays["rated.item_rows"]
    rated = [rated_rows[offsets[user] : offsets[user + 1]].astype(np.int64) for user in users]
    left = np.array([n_items - len(rows) for rows in rated])
    counts = {k: np.minimum(k, left) for k in TARGET_RECALL}
    user_factors = np.ascontiguousarray(arrays["user_factors"][users])
    factors = {order: query_factors(user_factors, n_ranking, order) for order in orders}
    thresholds: dict[tuple[Order, int], Float32Array] = {
        (order, k): np.empty(len(users), dtype=np.float32) for order in orders for k in counts
    }
    places = [{k: n_items - max(1, int(count[user])) for k, count in counts.items()} for user in range(len(users))]
    users_per_block = max(1, SCORES_PER_BLOCK // n_items)
    for order in orders:
        offset = _offsets(arrays, slice(0, n_items), order)
        for start in range(0, len(users), users_per_block):
            scores = factors[order][start : start + users_per_block] @ arrays["item_factors"][:-1].T + offset
            for user, user_scores in enumerate(scores, start):
                user_scores[rated[user]] = -np.inf
                ranked = np.partition(user_scores, sorted(set(places[user].values())))
                for k, place in places[user].items():
                    thresholds[order, k][user] = ranked[place]
    return RecallSample(factors, rated, thresholds, counts)


def _offsets(arrays: Arrays, rows: slice | Int64Array, order: Order) -> Float32Array:
    """Return what an order adds to the scores of items for every user, (n,)."""
    popularity = np.float32(order.popularity_weight) * arrays["item_log_popularity"][rows]
    offsets: Float32Array = np.float32(order.rating_weight) * arrays["item_bias"][rows] + popularity
    return offsets


def measure_index_recall(
    index: SearchableIndex, parameters: Any, arrays: Arrays, sample: RecallSample, order: Order
) -> dict[int, float]:
    """Return the share of the users' exact k best items that the index finds, by k.

    The candidates are scored exactly, as a server does. A server falls back to exact scoring if there are too few
    candidates, so its recall is at least this one.

    Args:
        index: index to measure.
        parameters: faiss search parameters, with the number of clusters to probe.
        arrays: arrays of the version.
        sample: users and their exact results.
        order: one of the orders of the sample.
    """
    factors = sample.factors[order]
    queries = query_vectors(factors, order)
    n_items = len(arrays["item_bias"]) - 1
    found = dict.fromkeys(sample.counts, 0)
    for user, rated in enumerate(sample.rated):
        n_candidates = min(CANDIDATES + min(len(rated), CANDIDATES), n_items)
        _, labels = index.search(queries[user : user + 1], n_candidates, params=parameters)
        rows = np.setdiff1d(labels[0][labels[0] >= 0], rated)
        scores = arrays["item_factors"][rows] @ factors[user] + _offsets(arrays, rows, order)
        scores = np.sort(scores)[::-1]
        for k, counts in sample.counts.items():
            threshold = sample.thresholds[order, k][user]
            enough = threshold - TOLERANCE * max(1.0, abs(float(threshold)))
            found[k] += int((scores[: counts[user]] >= enough).sum())
    return {k: found[k] / max(1, int(counts.sum())) for k, counts in sample.counts.items()}


def choose_probe_count(measure: Callable[[int], dict[int, float]], n_clusters: int) -> tuple[int, dict[int, float]]:
    """Find about the lowest number of clusters to probe that reaches TARGET_RECALL; all clusters if none does.

    Args:
        measure: returns the recall by k for a number of clusters.
        n_clusters: number of clusters of the index.

    Returns:
        The number of clusters, and its recall by k.
    """

    def reaches_target(recalls: dict[int, float]) -> bool:
        return all(recalls[k] >= target for k, target in TARGET_RECALL.items())

    low, high = 0, 1
    recalls = measure(high)
    while high < n_clusters and not reaches_target(recalls):
        low, high = high, min(2 * high, n_clusters)
        recalls = measure(high)
    while high - low > high // 8 + 1:
        middle = (low + high) // 2
        tried = measure(middle)
        if reaches_target(tried):
            high, recalls = middle, tried
        else:
            low = middle
    return high, recalls
