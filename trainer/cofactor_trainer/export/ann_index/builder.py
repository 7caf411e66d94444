"""Build an index of candidates, for Recommend where scoring the whole catalogue takes too long (docs/decisions/0006).

The index is an inverted file (H. Jégou, M. Douze and C. Schmid, Product quantization for nearest neighbor search,
2011): items in clusters, with 8 bits per number of an item vector. An item vector is [factors, bias, log popularity]
and a query is [user factors, 1, popularity weight], so that their inner product is the score. With a ranking part, the
weights of an order multiply the parts of the user factors and the 1. A query probes the clusters whose centres have the
highest inner product with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.errors import MissingExtraError
from cofactor_trainer.export.ann_index.recall import (
    CANDIDATES,
    TARGET_RECALL,
    choose_probe_count,
    draw_recall_sample,
    measure_index_recall,
)
from cofactor_trainer.export.ann_index.vectors import Arrays, item_vectors
from cofactor_trainer.export.manifest import order_entry
from cofactor_trainer.scoring.trained_model import Order

INDEX_FILE = "candidates.faiss"
CLUSTERS_PER_ROOT = 4
KMEANS_ROUNDS = 6
SAMPLE_PER_CLUSTER = 32
ROWS_PER_BLOCK = 1 << 18

# Most results that a server may take from the index.
LARGEST_K = 100


def require_faiss() -> Any:
    """Import faiss and return the module.

    Raises:
        MissingExtraError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("an index of candidates", "faiss-cpu", "approximate") from None
    return faiss


def write_index(
    path: Path, arrays: Arrays, orders: Sequence[Order], n_ranking: int = 0
) -> tuple[manifest_pb2.ApproximateIndex, dict[str, float]]:
    """Build an index, choose how many clusters to probe, and write it.

    Args:
        path: file to write.
        arrays: arrays of a dot-product version, including the rated items.
        orders: orders that the index must serve. The probe count is about the lowest that reaches TARGET_RECALL at
            each of them.
        n_ranking: number of columns of the ranking part.

    Returns:
        The manifest entry that says how to query the index, and the recall metrics, each the lowest of all orders.

    Raises:
        MissingExtraError: faiss is not installed.
    """
    faiss = require_faiss()
    index, sample = build_index(arrays), draw_recall_sample(arrays, orders, n_ranking)

    def lowest_recalls(probe_count: int) -> dict[int, float]:
        parameters = faiss.SearchParametersIVF(nprobe=probe_count)
        by_order = [measure_index_recall(index, parameters, arrays, sample, order) for order in orders]
        return {k: min(recalls[k] for recalls in by_order) for k in TARGET_RECALL}

    probe_count, recalls = choose_probe_count(lowest_recalls, index.nlist)
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        file.flush()
        os.fsync(file.fileno())
    entry = manifest_pb2.ApproximateIndex(
        path=path.name,
        probe_count=probe_count,
        candidate_count=CANDIDATES,
        largest_k=LARGEST_K,
        popularity_weights=() if n_ranking else [order.popularity_weight for order in orders],
        orders=[order_entry(order) for order in orders] if n_ranking else (),
    )
    return entry, {f"approximate_recall@{k}": recall for k, recall in recalls.items()}


def build_index(arrays: Arrays) -> Any:
    """Build a faiss index of all items but the unknown one, to search by inner product.

    An item is assigned to the cluster with the nearest centre. faiss by default assigns it to the cluster with the
    highest inner product. Every popular item would then be in one of a few clusters, which a query with a popularity
    weight of 1 never probes: the recall would be 0.

    Raises:
        MissingExtraError: faiss is not installed.
    """
    faiss = require_faiss()
    n_items = len(arrays["item_bias"]) - 1
    n_clusters = max(1, min(n_items, round(CLUSTERS_PER_ROOT * n_items**0.5)))
    centres = _cluster_centres(faiss, arrays, n_items, n_clusters)
    width = centres.shape[1]
    by_distance, by_product = faiss.IndexFlatL2(width), faiss.IndexFlatIP(width)
    by_distance.add(centres)
    by_product.add(centres)
    index = faiss.IndexIVFScalarQuantizer(
        by_product,
        width,
        n_clusters,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
        False,  # encode the items, not their differences from the centres
    )
    # The 256 steps of a number span its range in the whole catalogue: a sample would lack the most popular item.
    index.train(_extremes(arrays, n_items))
    index.quantizer = by_distance
    for rows in _blocks(n_items):
        index.add(item_vectors(arrays, rows))
    index.quantizer = by_product
    return index


def _cluster_centres(faiss: Any, arrays: Arrays, n_items: int, n_clusters: int) -> Float32Array:
    """Cluster a sample of the items by k-means -> (n_clusters, width)."""
    random = np.random.default_rng(0)
    sample = np.sort(random.choice(n_items, min(n_items, SAMPLE_PER_CLUSTER * n_clusters), replace=False))
    vectors = item_vectors(arrays, sample)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        n_clusters,
        niter=KMEANS_ROUNDS,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE_PER_CLUSTER,
        seed=1,
    )
    kmeans.train(vectors)
    centres: Float32Array = kmeans.centroids
    return centres


def _extremes(arrays: Arrays, n_items: int) -> Float32Array:
    """Return the lowest and the highest of every number of the item vectors, (2, width)."""
    blocks = [item_vectors(arrays, rows) for rows in _blocks(n_items)]
    extremes: Float32Array = np.stack(
        [np.min([block.min(0) for block in blocks], 0), np.max([block.max(0) for block in blocks], 0)]
    )
    return extremes


def _blocks(n_items: int) -> Iterator[slice]:
    return (slice(start, min(start + ROWS_PER_BLOCK, n_items)) for start in range(0, n_items, ROWS_PER_BLOCK))
