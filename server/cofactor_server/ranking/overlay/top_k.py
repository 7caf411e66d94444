"""Find the best items of a version and its overlay: those of the version with its graph, and then merge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cofactor_server.arrays import FloatArray
from cofactor_server.ranking.overlay.added_items import AddedItems
from cofactor_server.ranking.overlay.rows import RemovedRows, count_below
from cofactor_server.ranking.ranker import EMPTY_RANKING, Ranking, TopK, TopKQuery, best_positions

# The version is asked for so many items more than the query wants, because removed ones may be among them. To exclude
# the removed items instead would cost every query more, and the more the more are removed.
SPARE_RESULTS = 32


class OverlaidTopK:
    """Finds the best items of a version and the added items.

    No query excludes a removed item: they are left out here.

    Args:
        version: finds the best items of the version.
        added: the added items; None if there are none.
        removed: the removed items; None if there are none.
        n_items: number of items of the version, the removed ones included.
    """

    def __init__(self, version: TopK, added: AddedItems | None, removed: RemovedRows | None, n_items: int) -> None:
        self._version = version
        self._added = added
        self._removed = removed
        self._n_items = n_items
        self._n_served = n_items - (len(removed) if removed is not None else 0)

    def find(self, query: TopKQuery) -> Ranking:
        """Return the ranking for one query."""
        own_query, n_wanted = self._query_of_version(query)
        ranking = EMPTY_RANKING if own_query is None else self._version.find(own_query)
        ranking = self._without_removed(own_query, ranking, n_wanted)
        return ranking if self._added is None else self._merge(query, ranking, self._added.scores([query])[0])

    def find_many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """Return the ranking for each query, in their order."""
        if not queries:
            return []
        prepared = [self._query_of_version(query) for query in queries]
        found = iter(self._version.find_many([own_query for own_query, _ in prepared if own_query is not None]))
        rankings = [
            self._without_removed(own_query, EMPTY_RANKING if own_query is None else next(found), n_wanted)
            for own_query, n_wanted in prepared
        ]
        if self._added is None:
            return rankings
        scores = self._added.scores(queries)
        return [self._merge(*merged) for merged in zip(queries, rankings, scores, strict=True)]

    def _query_of_version(self, query: TopKQuery) -> tuple[TopKQuery | None, int]:
        """Return the query for the items of the version, None if all are excluded, and how many of them it needs."""
        excluded = query.excluded_rows
        end = count_below(excluded, self._n_items)
        n_wanted = min(query.k, self._n_served - end)
        if n_wanted == 0:
            return None, 0
        k = n_wanted
        if self._removed is not None:
            k += min(SPARE_RESULTS, len(self._removed))
        if k == query.k and end == len(excluded):
            return query, n_wanted
        return TopKQuery(query.user, query.order, excluded[:end], k, query.is_active), n_wanted

    def _without_removed(self, query: TopKQuery | None, ranking: Ranking, n_wanted: int) -> Ranking:
        """Return the best `n_wanted` items of a ranking that are not removed."""
        if query is None or self._removed is None:
            return ranking
        is_removed = self._removed.mask[ranking.rows]
        if is_removed.any():
            ranking = ranking.take(np.flatnonzero(~is_removed))
            if len(ranking.rows) < n_wanted:  # too many of the best items are removed
                excluded = np.union1d(query.excluded_rows, self._removed.rows)
                ranking = self._version.find(TopKQuery(query.user, query.order, excluded, n_wanted, query.is_active))
        return ranking.page(0, n_wanted, has_more=False)

    def _merge(self, query: TopKQuery, ranking: Ranking, scores: FloatArray) -> Ranking:
        """Merge the added items, scores (m,), into the ranking of the version's items."""
        assert self._added is not None
        excluded = query.excluded_rows
        end = count_below(excluded, self._n_items)
        if end < len(excluded):
            scores[excluded[end:] - self._n_items] = -np.inf
        # Of equal scores, those of the version come first.
        threshold = ranking.scores[-1] if len(ranking.rows) == query.k else -np.inf
        better = np.flatnonzero(scores > threshold)
        if len(better) == 0:
            return ranking
        _, ratings = self._added.predict(query.user.factors, query.user.bias, better)
        merged = Ranking(
            np.concatenate([ranking.rows, better + self._n_items]),
            np.concatenate([ranking.scores, scores[better]]),
            np.concatenate([ranking.ratings, ratings]),
        )
        return merged.take(best_positions(merged.scores, query.k))
