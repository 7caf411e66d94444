"""Find the top k of the whole catalogue with the engine, for one user or for several users in one run.

CatalogueTopK runs in the thread that calls it and never waits for other calls. One run for several users is cheaper
than a run for each of them. Several queries come together in three ways:

- BatchRecommend and StreamRecommend bring many users at once.
- transport/request_coalescing.py coalesces unary calls if runs are short (small catalogues): the first thread to start
  serves all calls that have arrived.
- dynamic_batching.py batches unary calls if runs are long (large catalogues, CUDA): calls that find the engine busy
  wait and share the next run.

top_k_choice.py decides which of the last two a version uses. With --batching off, every unary call runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.ranking.ranker import Ranking, TopKQuery

# A query with more excluded rows or results than this runs alone. Other queries of its run would be padded to its
# length: for 32 users of 100,000 items, a run takes 9 ms with 10 results and 73 ms with 1,000.
MAX_SHARED_EXCLUSIONS = 4096
MAX_SHARED_RESULTS = 256


class RecommendGraph(Protocol):
    """The engine's recommend graph."""

    @property
    def has_ranking_part(self) -> bool:
        """Return True if the graph takes the weights of an order."""

    def recommend(
        self,
        user_factors: FloatArray,
        user_bias: FloatArray,
        popularity_weight: FloatArray,
        excluded_rows: IndexArray,
        k: int,
        order_weights: FloatArray | None,
    ) -> tuple[IndexArray, FloatArray, FloatArray]:
        """Find the best k items of each user.

        (B, d), (B,), (B,), (B, E), k, (B, 2) -> item_rows, scores, ratings, each (B, k). order_weights is None if the
        graph has no ranking part.
        """


def _may_share_run(query: TopKQuery) -> bool:
    return len(query.excluded_rows) <= MAX_SHARED_EXCLUSIONS and query.k <= MAX_SHARED_RESULTS


class CatalogueTopK:
    """Runs the engine in the calling thread. Results are exact.

    Attributes:
        max_batch_size: largest number of users in one run.
    """

    def __init__(self, engine: RecommendGraph, n_items: int, max_batch_size: int) -> None:
        self._engine = engine
        self._n_items = n_items
        self._has_ranking_part = engine.has_ranking_part
        self.max_batch_size = max_batch_size
        self._nothing_excluded: IndexArray = np.array([[n_items]], dtype=np.int64)

    def find(self, query: TopKQuery) -> Ranking:
        """Return the ranking for one query."""
        excluded = query.excluded_rows[None, :] if len(query.excluded_rows) else self._nothing_excluded
        rows, scores, ratings = self._engine.recommend(
            query.user.factors,
            query.user.bias,
            query.order.popularity,
            excluded,
            query.k,
            query.order.weights if self._has_ranking_part else None,
        )
        return Ranking(rows[0], scores[0], ratings[0])

    def find_many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """Return the ranking for each query, in their order, from runs of at most max_batch_size users."""
        if len(queries) == 1:
            return [self.find(queries[0])]
        rankings: list[Ranking | None] = [None] * len(queries)
        shared = [i for i, query in enumerate(queries) if _may_share_run(query)]
        for group in self._split_by_rating(queries, shared) if self._has_ranking_part else (shared,):
            for start in range(0, len(group), self.max_batch_size):
                positions = group[start : start + self.max_batch_size]
                run = self._find_in_one_run([queries[i] for i in positions])
                for position, ranking in zip(positions, run, strict=True):
                    rankings[position] = ranking
        return [self.find(query) if found is None else found for query, found in zip(queries, rankings, strict=True)]

    @staticmethod
    def _split_by_rating(queries: Sequence[TopKQuery], positions: Sequence[int]) -> tuple[list[int], list[int]]:
        """Split queries by whether the rating logit counts: a network is run for a batch if it counts for any user."""
        with_rating = [i for i in positions if queries[i].order.rating_weight]
        without_rating = [i for i in positions if not queries[i].order.rating_weight]
        return with_rating, without_rating

    def _find_in_one_run(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """Run the engine once, with all queries padded to the most excluded rows and the largest k among them."""
        longest = max(1, *(len(query.excluded_rows) for query in queries))
        excluded = np.full((len(queries), longest), self._n_items, dtype=np.int64)
        for row, query in zip(excluded, queries, strict=True):
            row[: len(query.excluded_rows)] = query.excluded_rows
        rows, scores, ratings = self._engine.recommend(
            np.concatenate([query.user.factors for query in queries]),
            np.concatenate([query.user.bias for query in queries]),
            np.array([query.order.popularity_weight for query in queries], dtype=np.float32),
            excluded,
            max(query.k for query in queries),
            np.concatenate([query.order.weights for query in queries]) if self._has_ranking_part else None,
        )
        rankings = map(Ranking, rows, scores, ratings)
        return [
            ranking if len(ranking.rows) == query.k else ranking.page(0, query.k, has_more=False)
            for query, ranking in zip(queries, rankings, strict=True)
        ]
