"""Rank the items of a version and its overlay for a user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cofactor_server.arrays import IndexArray
from cofactor_server.ranking.overlay.exploration import explore
from cofactor_server.ranking.overlay.rows import RemovedRows
from cofactor_server.ranking.overlay.scorer import JoinedScorer
from cofactor_server.ranking.overlay.top_k import OverlaidTopK
from cofactor_server.ranking.ranker import Ranker, Ranking, RankingQuery


class OverlaidRanker(Ranker):
    """Answers ranking queries for a version with an overlay."""

    def __init__(self, top_k: OverlaidTopK, scorer: JoinedScorer, removed: RemovedRows | None, n_items: int) -> None:
        """`n_items` is the number of items of the version, the removed ones included."""
        super().__init__(top_k, scorer)
        self._removed = removed
        self._all_rows = np.arange(scorer.n_items)
        self._added_rows = self._all_rows[n_items:]
        if removed is not None:
            self._all_rows = removed.leave_out(self._all_rows)
        self._n_served = len(self._all_rows)

    def rank(self, query: RankingQuery) -> Ranking:
        """Return one page of one user's ranking."""
        if query.exploration is None:
            return super().rank(query)
        return self._explore(query, super().rank(_without_exploration(query)))

    def rank_many(self, queries: Sequence[RankingQuery]) -> list[Ranking]:
        """Return one page for each query. Queries over the whole catalogue share runs of the engine."""
        plain = [query if query.exploration is None else _without_exploration(query) for query in queries]
        return [
            ranking if query.exploration is None else self._explore(query, ranking)
            for query, ranking in zip(queries, super().rank_many(plain), strict=True)
        ]

    def _served_rows(self, rows: IndexArray | None) -> IndexArray:
        """Return those of the rows that are served, ascending; None stands for the whole catalogue."""
        if rows is None:
            return self._all_rows
        return rows if self._removed is None else self._removed.leave_out(rows)

    def excluded_rows(self, query: RankingQuery) -> IndexArray:
        """Return the served rows that must not be returned, ascending and unique."""
        excluded = query.excluded_rows
        if self._removed is None:
            return excluded
        served = self._removed.leave_out(excluded)
        if served is excluded or not (query.exclude_rated and self._removed.has_replacements):
            return served
        # Who has rated the old item has rated its replacement. What a filter says of the old one does not count.
        return np.union1d(served, self._removed.replacements_of(query.user.rated_rows))

    def _explore(self, query: RankingQuery, ranking: Ranking) -> Ranking:
        """Return the page of a query from the ranking up to its end."""
        assert query.exploration is not None
        candidates = self._rank_all(query, self._added_rows)
        return explore(ranking, candidates, query.exploration, query.offset, query.page_size)

    def _rank_all(self, query: RankingQuery, rows: IndexArray) -> Ranking:
        """Return those of the rows, ascending, that the query may return, in their order."""
        if query.selection.allowed_rows is not None:
            rows = np.intersect1d(rows, query.selection.allowed_rows, assume_unique=True)
        rows = np.setdiff1d(rows, self.excluded_rows(query), assume_unique=True)
        scores, ratings = self._scorer.score(query.user.factors, query.user.bias, query.order, rows)
        found = Ranking(rows, scores, ratings)
        return found if query.min_rating is None else found.take(np.flatnonzero(ratings >= query.min_rating))


def _without_exploration(query: RankingQuery) -> RankingQuery:
    """Return the query for all items up to the end of the page, by their scores."""
    return RankingQuery(
        query.user,
        0,
        query.end,
        query.selection,
        query.order,
        query.exclude_rated,
        query.diversity,
        query.min_rating,
        query.is_active,
    )
