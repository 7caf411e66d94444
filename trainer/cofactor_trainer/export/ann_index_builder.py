"""An index of candidates for Recommend, where scoring the whole catalogue takes too long (docs/decisions/0006).

An inverted file (Jégou, Douze and Schmid 2011): items in clusters, 8 bits for each of an item's numbers. An item is
[factors, bias, log popularity], a query [user factors, 1, popularity weight]: their product is the score. A query
looks at the clusters whose centres have the highest product with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import Float32Array, Int64Array
from cofactor_trainer.errors import MissingExtraError

INDEX_FILE = "candidates.faiss"
# faiss's products of 8-bit vectors of another length than a multiple of this are five times slower.
WIDTH_MULTIPLE = 16
CLUSTERS_PER_ROOT = 4
KMEANS_ROUNDS = 6
SAMPLE_PER_CLUSTER = 32
ROWS_AT_ONCE = 1 << 18

# The same candidates whatever k, so that one page continues another.
CANDIDATES = 256
LARGEST_K = 100
# What the index is to find of the exact best, by how many are asked for.
TARGET_RECALL = {10: 0.99, 100: 0.95}
# Scores computed exactly to measure that.
MEASURED_SCORES = 1_000_000_000
FEWEST_USERS, MOST_USERS = 200, 1000
SCORES_AT_ONCE = 1 << 25
# A score of another order of summation is as good.
TOLERANCE = 1e-5

Arrays = Mapping[str, npt.NDArray[Any]]


def require_faiss() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("an index of candidates", "faiss-cpu", "approximate") from None
    return faiss


def vector_width(n_factors: int) -> int:
    """Numbers of a vector in the index."""
    return -(-(n_factors + 2) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def item_vectors(arrays: Arrays, rows: slice | Int64Array) -> Float32Array:
    """Items as the index has them, (n, width)."""
    factors = arrays["item_factors"][rows]
    vectors = np.zeros((len(factors), vector_width(factors.shape[1])), dtype=np.float32)
    vectors[:, : factors.shape[1]] = factors
    vectors[:, factors.shape[1]] = arrays["item_bias"][rows]
    vectors[:, factors.shape[1] + 1] = arrays["item_log_popularity"][rows]
    return vectors


def query_vectors(user_factors: Float32Array, popularity_weight: float) -> Float32Array:
    """Users (B, d) as the index is asked for them, (B, width)."""
    n_users, n_factors = user_factors.shape
    vectors = np.zeros((n_users, vector_width(n_factors)), dtype=np.float32)
    vectors[:, :n_factors] = user_factors
    vectors[:, n_factors] = 1
    vectors[:, n_factors + 1] = popularity_weight
    return vectors


def build_index(arrays: Arrays) -> Any:
    """An index of all items but the unknown one, to be asked by product.

    Items join the cluster whose centre is nearest. The cluster of the highest product, faiss's default here, would be
    one of few for every popular item and never one that a popularity weight of 1 asks for: recall 0.
    """
    faiss = require_faiss()
    n_items = len(arrays["item_bias"]) - 1
    n_clusters = max(1, min(n_items, round(CLUSTERS_PER_ROOT * n_items**0.5)))
    random = np.random.default_rng(0)
    sample = np.sort(random.choice(n_items, min(n_items, SAMPLE_PER_CLUSTER * n_clusters), replace=False))
    vectors = item_vectors(arrays, sample)
    width = vectors.shape[1]
    kmeans = faiss.Kmeans(
        width,
        n_clusters,
        niter=KMEANS_ROUNDS,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE_PER_CLUSTER,
        seed=1,
    )
    kmeans.train(vectors)
    nearest, by_product = faiss.IndexFlatL2(width), faiss.IndexFlatIP(width)
    nearest.add(kmeans.centroids)
    by_product.add(kmeans.centroids)
    index = faiss.IndexIVFScalarQuantizer(
        by_product,
        width,
        n_clusters,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
        False,  # codes of the items, not of what the centres leave
    )
    # The 256 steps of a number span what the catalogue has of it, not a sample: the most popular item is in none.
    index.train(_extremes(arrays, n_items))
    index.quantizer = nearest
    for rows in _chunks(n_items):
        index.add(item_vectors(arrays, rows))
    index.quantizer = by_product
    return index


def _chunks(n_items: int) -> Iterator[slice]:
    return (slice(start, min(start + ROWS_AT_ONCE, n_items)) for start in range(0, n_items, ROWS_AT_ONCE))


def _extremes(arrays: Arrays, n_items: int) -> Float32Array:
    """Lowest and highest of every number, (2, width)."""
    parts = [item_vectors(arrays, rows) for rows in _chunks(n_items)]
    extremes: Float32Array = np.stack(
        [np.min([part.min(0) for part in parts], 0), np.max([part.max(0) for part in parts], 0)]
    )
    return extremes


@dataclass(frozen=True)
class Audience:
    """Users that the index is judged by, and what is exactly best for them.

    Attributes:
        factors: (U, d).
        rated: item rows that each has rated, never recommended.
        thresholds: by popularity weight and k, each user's k-th best score, (U,).
        counts: by k, how many results each user has, (U,); k but where fewer items are left.
    """

    factors: Float32Array
    rated: Sequence[Int64Array]
    thresholds: Mapping[tuple[float, int], Float32Array]
    counts: Mapping[int, Int64Array]


def audience(arrays: Arrays, popularity_weights: Sequence[float]) -> Audience:
    """Some users of the model, at most MOST_USERS, and their exact rankings; the items they rated are left out."""
    n_items, n_users = len(arrays["item_bias"]) - 1, len(arrays["user_bias"]) - 1
    wanted = int(np.clip(MEASURED_SCORES // n_items, FEWEST_USERS, MOST_USERS))
    users = np.sort(np.random.default_rng(0).permutation(n_users)[:wanted])
    offsets, rated_rows = arrays["rated.offsets"], arrays["rated.item_rows"]
    rated = [rated_rows[offsets[user] : offsets[user + 1]].astype(np.int64) for user in users]
    left = np.array([n_items - len(rows) for rows in rated])
    counts = {k: np.minimum(k, left) for k in TARGET_RECALL}
    factors = np.ascontiguousarray(arrays["user_factors"][users])
    thresholds: dict[tuple[float, int], Float32Array] = {
        (weight, k): np.empty(len(users), dtype=np.float32) for weight in popularity_weights for k in counts
    }
    step = max(1, SCORES_AT_ONCE // n_items)
    for start in range(0, len(users), step):
        logits = factors[start : start + step] @ arrays["item_factors"][:-1].T + arrays["item_bias"][:-1]
        for row, user in zip(logits, range(start, len(users)), strict=False):
            row[rated[user]] = -np.inf
            for weight in popularity_weights:
                scores = row + np.float32(weight) * arrays["item_log_popularity"][:-1]
                places = {k: n_items - max(1, int(count[user])) for k, count in counts.items()}
                ranked = np.partition(scores, sorted(set(places.values())))
                for k, place in places.items():
                    thresholds[weight, k][user] = ranked[place]
    return Audience(factors, rated, thresholds, counts)


def recall(
    index: Any, arrays: Arrays, judges: Audience, probe_count: int, popularity_weight: float
) -> dict[int, float]:
    """Share of each user's exact k best that are the best of the candidates, scored exactly; by k.

    A server answers exactly where candidates are too few, so it returns no smaller share.
    """
    faiss = require_faiss()
    parameters = faiss.SearchParametersIVF(nprobe=probe_count)
    queries = query_vectors(judges.factors, popularity_weight)
    n_items = len(arrays["item_bias"]) - 1
    found = dict.fromkeys(judges.counts, 0)
    for user, rated in enumerate(judges.rated):
        n_candidates = min(CANDIDATES + min(len(rated), CANDIDATES), n_items)
        _, labels = index.search(queries[user : user + 1], n_candidates, params=parameters)
        rows = np.setdiff1d(labels[0][labels[0] >= 0], rated)
        scores = arrays["item_factors"][rows] @ judges.factors[user] + arrays["item_bias"][rows]
        scores = np.sort(scores + np.float32(popularity_weight) * arrays["item_log_popularity"][rows])[::-1]
        for k, counts in judges.counts.items():
            threshold = judges.thresholds[popularity_weight, k][user]
            enough = threshold - TOLERANCE * max(1.0, abs(float(threshold)))
            found[k] += int((scores[: counts[user]] >= enough).sum())
    return {k: found[k] / max(1, int(counts.sum())) for k, counts in judges.counts.items()}


def fewest_probes(measure: Callable[[int], dict[int, float]], n_clusters: int) -> tuple[int, dict[int, float]]:
    """About as few clusters to look at as reach TARGET_RECALL, all where none do, and what that measures."""

    def reaches(found: dict[int, float]) -> bool:
        return all(found[k] >= target for k, target in TARGET_RECALL.items())

    low, high = 0, 1
    found = measure(high)
    while high < n_clusters and not reaches(found):
        low, high = high, min(2 * high, n_clusters)
        found = measure(high)
    while high - low > high // 8 + 1:
        middle = (low + high) // 2
        tried = measure(middle)
        if reaches(tried):
            high, found = middle, tried
        else:
            low = middle
    return high, found


def write_index(
    path: Path, arrays: Arrays, popularity_weights: Sequence[float]
) -> tuple[manifest_pb2.ApproximateIndex, dict[str, float]]:
    """Write an index to path; how it is to be asked, and its metrics.

    arrays are those of a dot-product version, the users' rated items included. As few clusters are looked at as
    TARGET_RECALL allows at each of popularity_weights; the metrics are of the weight with the lower recall.
    """
    faiss = require_faiss()
    index, judges = build_index(arrays), audience(arrays, popularity_weights)

    def worst(probe_count: int) -> dict[int, float]:
        measured = [recall(index, arrays, judges, probe_count, weight) for weight in popularity_weights]
        return {k: min(each[k] for each in measured) for k in TARGET_RECALL}

    probe_count, found = fewest_probes(worst, index.nlist)
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        file.flush()
        os.fsync(file.fileno())
    asked = manifest_pb2.ApproximateIndex(
        path=path.name,
        probe_count=probe_count,
        candidate_count=CANDIDATES,
        largest_k=LARGEST_K,
        popularity_weights=popularity_weights,
    )
    return asked, {f"approximate_recall@{k}": value for k, value in found.items()}
