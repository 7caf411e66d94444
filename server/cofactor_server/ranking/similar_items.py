"""Find the items that are similar to given items. Works on arrays only."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.filters import ItemSelection
from cofactor_server.ranking.ranker import EMPTY_RANKING, Ranking, best_positions
from cofactor_server.ranking.row_sets import union, without


class SimilarityGraphs(Protocol):
    """The engine's similar_items and similarity graphs."""

    def similar_items(self, item_rows: IndexArray, excluded_rows: IndexArray, k: int) -> tuple[IndexArray, FloatArray]:
        """Find the k nearest items: item_rows (M,), excluded_rows (E,) -> rows (k,), cosines (k,)."""

    def similarity(self, item_rows: IndexArray, candidate_rows: IndexArray) -> FloatArray:
        """Compare items: item_rows (M,), candidate_rows (C,) -> cosines (C,)."""


class SimilarItems:
    """Ranks items by the cosine between their factors and the mean of the given items' unit vectors."""

    def __init__(self, graphs: SimilarityGraphs, n_items: int) -> None:
        self._graphs = graphs
        self._n_items = n_items

    def rank(self, item_rows: IndexArray, selection: ItemSelection, offset: int, page_size: int) -> Ranking:
        """Return one page of the items most similar to item_rows (M,), without these. Its `ratings` are NaN."""
        item_rows = np.unique(item_rows)
        excluded = union(selection.excluded_rows, item_rows)
        end = offset + page_size
        if selection.allowed_rows is None:
            n_available = self._n_items - len(excluded)
            if n_available <= offset:
                return EMPTY_RANKING
            rows, scores = self._graphs.similar_items(item_rows, excluded, min(end, n_available))
        else:
            candidates = without(selection.allowed_rows, excluded)
            n_available = len(candidates)
            if n_available <= offset:
                return EMPTY_RANKING
            cosines = self._graphs.similarity(item_rows, candidates)
            best = best_positions(cosines, end)
            rows, scores = candidates[best], cosines[best]
        no_ratings = np.full(len(rows), np.nan, dtype=np.float32)
        return Ranking(rows, scores, no_ratings).page(offset, page_size, has_more=n_available > end)
