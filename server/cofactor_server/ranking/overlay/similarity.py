"""Compare the items of a version and its overlay."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.filters import ALL_ITEMS, ItemSelection
from cofactor_server.ranking.item_scorer import Predictor
from cofactor_server.ranking.overlay.rows import RemovedRows, count_below
from cofactor_server.ranking.overlay.scorer import JoinedPredictor, JoinedScorer
from cofactor_server.ranking.overlay.top_k import SPARE_RESULTS
from cofactor_server.ranking.prediction_parts import ExplanationGraphs
from cofactor_server.ranking.ranker import Ranking, best_positions
from cofactor_server.ranking.similar_items import SimilarItems, SimilarityGraphs

# Shorter means of unit vectors count as 0, as in the graphs.
SHORTEST_MEAN = 1e-6


class VersionGraphs(ExplanationGraphs, Protocol):
    """The graphs of a version that predict and compare items."""

    def similar_items(self, item_rows: IndexArray, excluded_rows: IndexArray, k: int) -> tuple[IndexArray, FloatArray]:
        """Find the k nearest items: item_rows (M,), excluded_rows (E,) -> rows (k,), cosines (k,)."""


class JoinedGraphs(JoinedPredictor):
    """Predicts and compares items: those of a version with its graphs, and the added ones without."""

    def __init__(
        self,
        version: VersionGraphs,
        added: Predictor,
        scorer: JoinedScorer,
        n_items: int,
        removed: RemovedRows | None,
    ) -> None:
        """`n_items` is the number of items of the version."""
        super().__init__(version, added, n_items)
        self._graphs = version
        self._scorer = scorer
        self._removed = removed

    def similar_items(self, item_rows: IndexArray, excluded_rows: IndexArray, k: int) -> tuple[IndexArray, FloatArray]:
        """Find the k items nearest to the mean of (M,) items, without (E,) and without removed items.

        Excluded rows are ascending, and none is removed -> rows (k,), cosines (k,).
        """
        n, direction = self._n_items, self._direction(item_rows)
        end = count_below(excluded_rows, n)
        n_removed = 0 if self._removed is None else len(self._removed)
        n_own = min(k, n - n_removed - end)
        rows, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        if n_own and (item_rows < n).all():
            rows, scores = self._similar_own(item_rows, excluded_rows[:end], n_own)
        elif n_own:  # the graph has no rows of added items to compare with
            own_scores = self._scorer.cosines(direction)[:n]
            own_scores[self._with_removed(excluded_rows[:end])] = -np.inf
            rows = best_positions(own_scores, n_own)
            scores = own_scores[rows]
        added = self._scorer.added_cosines(direction)
        added[excluded_rows[end:] - n] = -np.inf
        # Of equal cosines, those of the version come first.
        better = np.flatnonzero(added > (scores[-1] if len(rows) == k else -np.inf))
        if len(better) == 0:
            return rows, scores
        rows, scores = np.concatenate([rows, better + n]), np.concatenate([scores, added[better]])
        best = best_positions(scores, k)
        return rows[best], scores[best]

    def _similar_own(self, item_rows: IndexArray, excluded: IndexArray, k: int) -> tuple[IndexArray, FloatArray]:
        """Find the k nearest items of the version that are not removed, as OverlaidTopK finds the best."""
        if self._removed is None:
            return self._graphs.similar_items(item_rows, excluded, k)
        spare = min(SPARE_RESULTS, len(self._removed))
        rows, scores = self._graphs.similar_items(item_rows, excluded, k + spare)
        is_served = ~self._removed.mask[rows]
        if np.count_nonzero(is_served) < k:
            return self._graphs.similar_items(item_rows, self._with_removed(excluded), k)
        return rows[is_served][:k], scores[is_served][:k]

    def _with_removed(self, rows: IndexArray) -> IndexArray:
        return rows if self._removed is None else np.union1d(rows, self._removed.rows)

    def similarity(self, item_rows: IndexArray, candidate_rows: IndexArray) -> FloatArray:
        """Compare the mean of (M,) items with each of (C,) candidates -> cosines (C,)."""
        if (item_rows < self._n_items).all() and (candidate_rows < self._n_items).all():
            return self._graphs.similarity(item_rows, candidate_rows)
        scores: FloatArray = self._scorer.unit_vectors(candidate_rows) @ self._direction(item_rows)
        return scores

    def _direction(self, item_rows: IndexArray) -> FloatArray:
        """Return the mean of the items' unit vectors, scaled to length 1: (M,) -> (m,); 0 if they cancel out."""
        mean = self._scorer.unit_vectors(item_rows).mean(0)
        length = float(np.linalg.norm(mean))
        direction: FloatArray = np.zeros_like(mean) if length < SHORTEST_MEAN else mean / np.float32(length)
        return direction


class OverlaidSimilarItems(SimilarItems):
    """Ranks the items of a version and its overlay by similarity, without those that are removed."""

    def __init__(self, graphs: SimilarityGraphs, n_items: int, removed: RemovedRows | None) -> None:
        """`n_items` is the number of items of the version and of added items."""
        super().__init__(graphs, n_items - (0 if removed is None else len(removed)))
        self._removed = removed

    def rank(self, item_rows: IndexArray, selection: ItemSelection, offset: int, page_size: int) -> Ranking:
        """Return one page of the items most similar to item_rows (M,), without these. Its `ratings` are NaN."""
        if self._removed is not None and selection is not ALL_ITEMS:
            allowed, leave_out = selection.allowed_rows, self._removed.leave_out
            allowed = None if allowed is None else leave_out(allowed)
            selection = ItemSelection(allowed, leave_out(selection.excluded_rows))
        return super().rank(item_rows, selection, offset, page_size)
