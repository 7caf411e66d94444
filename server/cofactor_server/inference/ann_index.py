"""Recommend from an index of candidates in the place of the whole catalogue (docs/decisions/0006)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.ranking.ranker import Ranking, Scores, TopK, TopKQuery, best_positions
from cofactor_server.repository.version_directory import VersionDirectory

_LOGGER = logging.getLogger(__name__)


def load_faiss() -> Any:
    """The library; raises ConfigurationError where it is not installed."""
    # It tells of every instruction set that it has no build of its own for.
    logging.getLogger("faiss").setLevel(logging.WARNING)
    try:
        import faiss
    except ImportError:
        raise ConfigurationError(
            "--approximate needs the package faiss-cpu: pip install 'cofactor[approximate]', or leave the flag out"
        ) from None
    return faiss


class CandidateIndex:
    """A version's index, mapped from its file: one copy in memory for all worker processes.

    Raises ModelRefused when it is not an index of the version's items.
    """

    def __init__(self, bundle: VersionDirectory) -> None:
        self._faiss = load_faiss()
        asked = bundle.manifest.approximate_index
        self._n_items = int(bundle.manifest.item_count)
        self._n_factors = int(bundle.manifest.user_factor_count)
        try:
            # The other flag for mapping, IO_FLAG_MMAP, starts 32 threads in every search.
            self._index = self._faiss.read_index(str(bundle.path / asked.path), self._faiss.IO_FLAG_MMAP_IFC)
        except Exception:
            # faiss's texts hold paths, so they go to the log alone.
            _LOGGER.debug("cannot load %s", bundle.path / asked.path, exc_info=True)
            raise ModelRefused(
                f"model {bundle.label} refused: its index cannot be read; bring faiss-cpu to the release that "
                "wrote it, or leave out --approximate"
            ) from None
        if not self._fits(asked.probe_count):
            raise ModelRefused(
                f"model {bundle.label} refused: its index is not one of its {self._n_items} items; export it again, or "
                "leave out --approximate"
            )
        self._parameters = self._faiss.SearchParametersIVF(nprobe=asked.probe_count)

    def _fits(self, probe_count: int) -> bool:
        index = self._index
        return bool(
            isinstance(index, self._faiss.IndexIVF)
            and index.metric_type == self._faiss.METRIC_INNER_PRODUCT
            and index.ntotal == self._n_items
            and index.d >= self._n_factors + 2
            and 1 <= probe_count <= index.nlist
        )

    def candidates(self, user_factors: FloatArray, popularity_weight: float, count: int) -> IndexArray:
        """At most `count` rows of items that may score high for a user (1, d), in no order."""
        started = time.perf_counter()
        query = np.zeros((1, self._index.d), dtype=np.float32)
        query[0, : self._n_factors] = user_factors[0]
        query[0, self._n_factors] = 1
        query[0, self._n_factors + 1] = popularity_weight
        self._faiss.omp_set_num_threads(1)  # of the calling thread's searches
        rows: IndexArray = self._index.search(query, min(count, self._n_items), params=self._parameters)[1][0]
        CALL_TIMING.compute_s += time.perf_counter() - started
        # Too few are filled up with -1; and what the file says is no row of ours is not looked up in our tables.
        return rows[(rows >= 0) & (rows < self._n_items)]


class ApproximateTopK:
    """Scores the index's candidates exactly and returns the best of them.

    A query for which its recall was not measured (more results than largest_k, another popularity weight), one that
    leaves out most of what is best, and one for which the index finds too few, are answered exactly.
    """

    def __init__(self, bundle: VersionDirectory, exact: TopK, scores: Scores) -> None:
        asked = bundle.manifest.approximate_index
        self._index = CandidateIndex(bundle)
        self._n_candidates = asked.candidate_count
        self._largest_k = asked.largest_k
        self._weights = frozenset(asked.popularity_weights)
        self._log_popularity: FloatArray = bundle.tables["item_log_popularity"]  # type: ignore[assignment]
        self._exact = exact
        self._scores = scores

    def one(self, query: TopKQuery) -> Ranking:
        """The answer to one query."""
        return self._from_candidates(query) or self._exact.one(query)

    def many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """The answers to several, in their order."""
        answers = [self._from_candidates(query) for query in queries]
        others = iter(self._exact.many([query for query, answer in zip(queries, answers, strict=True) if not answer]))
        return [answer or next(others) for answer in answers]

    def _from_candidates(self, query: TopKQuery) -> Ranking | None:
        if query.k > self._largest_k or query.popularity_weight not in self._weights:
            return None
        user, excluded = query.user, query.excluded_rows
        n_wanted = self._n_candidates + min(len(excluded), self._n_candidates)
        found = self._index.candidates(user.factors, query.popularity_weight, n_wanted)
        # In the order of rows, so that equals stay in it.
        rows = _without(np.sort(found), excluded)
        if len(rows) < query.k or len(found) - len(rows) > self._n_candidates:
            return None
        logits, ratings = self._scores.predict(user.factors, user.bias, rows)
        scores = logits + np.float32(query.popularity_weight) * self._log_popularity[rows]
        return Ranking(rows, scores, ratings).take(best_positions(scores, query.k))


def _without(rows: IndexArray, excluded: IndexArray) -> IndexArray:
    """Those of `rows` that are not `excluded`, both ascending; four times faster than np.setdiff1d."""
    if len(excluded) == 0:
        return rows
    places = np.searchsorted(excluded, rows)
    places[places == len(excluded)] = 0
    kept: IndexArray = rows[excluded[places] != rows]
    return kept


def from_candidates(bundle: VersionDirectory, exact: TopK, scores: Scores, *, on_cpu: bool) -> TopK:
    """The top k from the version's index, where it has one and the CPU does the work; else the exact one."""
    if not bundle.manifest.HasField("approximate_index"):
        _LOGGER.info("%s has no index: Recommend is exact", bundle.label)
        return exact
    if not on_cpu:
        _LOGGER.info("%s runs on a device, where scoring every item is fast: Recommend is exact", bundle.label)
        return exact
    recall = bundle.manifest.metrics["approximate_recall@10"]
    _LOGGER.info("%s recommends from its index, recall@10 %.3f", bundle.label, recall)
    return ApproximateTopK(bundle, exact, scores)
