"""Recommend from an index of approximate nearest neighbours instead of the whole catalogue (docs/decisions/0006)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cofactor.v1 import manifest_pb2
from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.ranker import Ranking, TopK, TopKQuery, best_positions
from cofactor_server.ranking.row_sets import without
from cofactor_server.repository.passing_errors import raise_if_passing
from cofactor_server.repository.version_directory import VersionDirectory

_LOGGER = logging.getLogger(__name__)


def load_faiss() -> Any:
    """Import faiss, which has no type information. Raises ConfigurationError if it is not installed."""
    # It logs every instruction set that it was not built for.
    logging.getLogger("faiss").setLevel(logging.WARNING)
    try:
        import faiss
    except ImportError:
        raise ConfigurationError(
            "--approximate needs the package faiss-cpu: pip install 'cofactor[approximate]', or leave the flag out"
        ) from None
    return faiss


class AnnIndex:
    """A version's faiss index, memory-mapped so that all worker processes share one copy.

    Raises ModelRefused if it is not an index of the version's items.
    """

    def __init__(self, directory: VersionDirectory) -> None:
        self._faiss = load_faiss()
        manifest = directory.manifest
        path, n_probes = directory.path / manifest.approximate_index.path, manifest.approximate_index.probe_count
        self._n_items = int(manifest.item_count)
        self._n_factors = int(manifest.user_factor_count)
        self._n_rating = self._n_factors - manifest.ranking_factor_count
        try:
            # The other flag for mapping, IO_FLAG_MMAP, starts 32 threads in every search.
            self._index = self._faiss.read_index(str(path), self._faiss.IO_FLAG_MMAP_IFC)
        except Exception as error:
            raise_if_passing(error)
            # The texts of faiss's errors contain paths, so only the log gets them.
            _LOGGER.debug("cannot load %s", path, exc_info=True)
            raise ModelRefused(
                f"model {directory.label} refused: its index cannot be read; update faiss-cpu to the release that "
                "wrote it, or leave out --approximate"
            ) from None
        if not self._fits(n_probes):
            raise ModelRefused(
                f"model {directory.label} refused: its index is not one of its {self._n_items} items; export it again, "
                "or leave out --approximate"
            )
        self._parameters = self._faiss.SearchParametersIVF(nprobe=n_probes)

    def _fits(self, n_probes: int) -> bool:
        index = self._index
        return bool(
            isinstance(index, self._faiss.IndexIVF)
            and index.metric_type == self._faiss.METRIC_INNER_PRODUCT
            and index.ntotal == self._n_items
            and index.d >= self._n_factors + 2
            and 1 <= n_probes <= index.nlist
        )

    def candidates(self, user_factors: FloatArray, order: Order, count: int) -> IndexArray:
        """Return up to `count` rows, unsorted, of items that may score high for a user (1, d) by an order."""
        started = time.perf_counter()
        query = np.zeros((1, self._index.d), dtype=np.float32)
        query[0, : self._n_factors] = user_factors[0]
        query[0, : self._n_rating] *= order.rating_weight
        query[0, self._n_rating : self._n_factors] *= order.ranking_weight
        query[0, self._n_factors] = order.rating_weight
        query[0, self._n_factors + 1] = order.popularity_weight
        self._faiss.omp_set_num_threads(1)  # for searches of the calling thread
        rows: IndexArray = self._index.search(query, min(count, self._n_items), params=self._parameters)[1][0]
        CALL_TIMING.compute_s += time.perf_counter() - started
        # faiss pads with -1, and a damaged file may contain rows that the version does not have.
        return rows[(rows >= 0) & (rows < self._n_items)]


class ApproximateTopK:
    """Takes candidates from the index, scores them exactly and returns the best.

    The exact top k is used where the index would be worse than its measured recall: if the query asks for more results
    than largest_k, has an order that was not measured, excludes most of the candidates, or if the index
    finds too few.
    """

    def __init__(self, directory: VersionDirectory, exact: TopK, scorer: ItemScorer) -> None:
        settings = directory.manifest.approximate_index
        self._index = AnnIndex(directory)
        self._n_candidates = settings.candidate_count
        self._largest_k = settings.largest_k
        self._measured_weights = frozenset(settings.popularity_weights)
        self._has_ranking_part = scorer.has_ranking_part
        self._measured_orders = frozenset(map(_weights, settings.orders))
        self._exact = exact
        self._scorer = scorer

    def find(self, query: TopKQuery) -> Ranking:
        """Return the ranking for one query."""
        return self._find_in_index(query) or self._exact.find(query)

    def find_many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """Return the ranking for each query, in their order."""
        found = [self._find_in_index(query) for query in queries]
        not_found = [query for query, ranking in zip(queries, found, strict=True) if not ranking]
        exact = iter(self._exact.find_many(not_found))
        return [ranking or next(exact) for ranking in found]

    def _find_in_index(self, query: TopKQuery) -> Ranking | None:
        if query.k > self._largest_k or not self._is_measured(query.order):
            return None
        user, excluded = query.user, query.excluded_rows
        count = self._n_candidates + min(len(excluded), self._n_candidates)
        candidates = self._index.candidates(user.factors, query.order, count)
        # Sorted, so that items with equal scores are ranked by row.
        rows = without(np.sort(candidates), excluded)
        if len(rows) < query.k or len(candidates) - len(rows) > self._n_candidates:
            return None
        scores, ratings = self._scorer.score(user.factors, user.bias, query.order, rows)
        return Ranking(rows, scores, ratings).take(best_positions(scores, query.k))

    def _is_measured(self, order: Order) -> bool:
        if self._has_ranking_part:
            return _weights(order) in self._measured_orders
        return order.popularity_weight in self._measured_weights


def _weights(order: Order | manifest_pb2.Order) -> tuple[float, float, float]:
    return order.rating_weight, order.ranking_weight, order.popularity_weight


def approximate_or_exact(directory: VersionDirectory, exact: TopK, scorer: ItemScorer, *, is_on_cpu: bool) -> TopK:
    """Return an ApproximateTopK if the version has an index and runs on the CPU, otherwise `exact`."""
    if not directory.manifest.HasField("approximate_index"):
        _LOGGER.info("%s has no index: Recommend is exact", directory.label)
        return exact
    if not is_on_cpu:
        _LOGGER.info("%s runs on a device, where scoring every item is fast: Recommend is exact", directory.label)
        return exact
    recall = directory.manifest.metrics["approximate_recall@10"]
    _LOGGER.info("%s recommends from its index, recall@10 %.3f", directory.label, recall)
    return ApproximateTopK(directory, exact, scorer)
