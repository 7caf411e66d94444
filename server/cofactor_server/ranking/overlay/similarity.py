"""Compare the items of a version and its overlay."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.filters import ItemSelection
from cofactor_server.ranking.item_scorer import Predictor
from cofactor_server.ranking.overlay.rows import RemovedRows, count_below
from cofactor_server.ranking.overlay.scorer import JoinedPredictor, JoinedScorer
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

    def __init__(self, version: VersionGraphs, added: Predictor, scorer: JoinedScorer, n_items: int) -> None:
        """`n_items` is the number of items of the version."""
        super().__init__(version, added, n_items)
        self._graphs = version
        self._scorer = scorer

    def similar_items(self, item_rows: IndexArray, excluded_rows: IndexArray, k: int) -> tuple[IndexArray, FloatArray]:
        """Find the k items nearest to the mean of (M,) items, without (E,) ascending -> rows (k,), cosines (k,)."""
        n = self._n_items
        end = count_below(excluded_rows, n)
        direction = self._direction(item_rows)
        rows, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        n_own = min(k, n - end)
        if n_own and (item_rows < n).all():
            rows, scores = self._graphs.similar_items(item_rows, excluded_rows[:end], n_own)
        elif n_own:  # the graph has no rows of added items to compare with
            scores = self._scorer.cosines(direction)[:n]
            scores[excluded_rows[:end]] = -np.inf
            rows = best_positions(scores, n_own)
            scores = scores[rows]
        added = np.setdiff1d(np.arange(n, self._scorer.n_items), excluded_rows[end:], assume_unique=True)
        all_rows = np.concatenate([rows, added])
        all_scores = np.concatenate([scores, self._scorer.unit_vectors(added) @ direction])
        best = best_positions(all_scores, k)
        return all_rows[best], all_scores[best]

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
        super().__init__(graphs, n_items)
        self._removed = removed

    def rank(self, item_rows: IndexArray, selection: ItemSelection, offset: int, page_size: int) -> Ranking:
        """Return one page of the items most similar to item_rows (M,), without these. Its `ratings` are NaN."""
        if self._removed is not None:
            excluded = np.union1d(selection.excluded_rows, self._removed.rows)
            selection = ItemSelection(selection.allowed_rows, excluded)
        return super().rank(item_rows, selection, offset, page_size)
