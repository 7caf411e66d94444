"""Top-k queries as runs of the engine: one by one, or several users in one run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.ranker import Ranking, TopKQuery

# A query that leaves out more items than this, or asks for more, runs alone: its neighbours would be padded to its
# length, and of 100,000 items 32 users take 9 ms with 10 results and 73 ms with 1,000.
LONGEST_SHARED_EXCLUSION = 4096
MOST_SHARED_RESULTS = 256


class RecommendGraph(Protocol):
    """The engine's recommend graph."""

    def recommend(
        self,
        user_factors: FloatArray,
        user_bias: FloatArray,
        popularity_weight: FloatArray,
        excluded_rows: IndexArray,
        k: int,
    ) -> tuple[IndexArray, FloatArray, FloatArray]:
        """(B, d), (B,), (B,), (B, E) -> item_rows, scores, ratings, each (B, k)."""


@lru_cache(maxsize=64)
def _weight(popularity_weight: float) -> FloatArray:
    """A weight as the graph takes it; most calls have the model's own."""
    return np.array([popularity_weight], dtype=np.float32)


def _may_share(query: TopKQuery) -> bool:
    return len(query.excluded_rows) <= LONGEST_SHARED_EXCLUSION and query.k <= MOST_SHARED_RESULTS


class DirectTopK:
    """Runs the engine in the calling thread.

    Attributes:
        max_batch_size: most users in one run.
    """

    def __init__(self, engine: RecommendGraph, n_items: int, max_batch_size: int) -> None:
        self._engine = engine
        self._n_items = n_items
        self.max_batch_size = max_batch_size
        self._nothing_excluded: IndexArray = np.array([[n_items]], dtype=np.int64)

    def one(self, query: TopKQuery) -> Ranking:
        """The answer to one query."""
        excluded = query.excluded_rows[None, :] if len(query.excluded_rows) else self._nothing_excluded
        rows, scores, ratings = self._engine.recommend(
            query.user.factors,
            query.user.bias,
            _weight(query.popularity_weight),
            excluded,
            query.k,
        )
        return Ranking(rows[0], scores[0], ratings[0])

    def many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """The answers to several queries, in their order, in runs of at most max_batch_size."""
        answers: list[Ranking | None] = [None] * len(queries)
        if len(queries) == 1:
            return [self.one(queries[0])]
        shared = [i for i, query in enumerate(queries) if _may_share(query)]
        for start in range(0, len(shared), self.max_batch_size):
            positions = shared[start : start + self.max_batch_size]
            run = self._together([queries[i] for i in positions])
            for position, answer in zip(positions, run, strict=True):
                answers[position] = answer
        return [self.one(query) if answer is None else answer for query, answer in zip(queries, answers, strict=True)]

    def _together(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """One run for all: as many results and exclusions for each as the largest of them needs."""
        longest = max(1, *(len(query.excluded_rows) for query in queries))
        excluded = np.full((len(queries), longest), self._n_items, dtype=np.int64)
        for row, query in zip(excluded, queries, strict=True):
            row[: len(query.excluded_rows)] = query.excluded_rows
        rows, scores, ratings = self._engine.recommend(
            np.concatenate([query.user.factors for query in queries]),
            np.concatenate([query.user.bias for query in queries]),
            np.array([query.popularity_weight for query in queries], dtype=np.float32),
            excluded,
            max(query.k for query in queries),
        )
        together = map(Ranking, rows, scores, ratings)
        return [
            ranking if len(ranking.rows) == query.k else ranking.page(0, query.k, has_more=False)
            for query, ranking in zip(queries, together, strict=True)
        ]
