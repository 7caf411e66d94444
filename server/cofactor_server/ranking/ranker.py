"""Ranks a catalogue for a user: arrays in, arrays out. Knows neither gRPC nor ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cofactor_server.arrays import NO_ROWS, FloatArray, IndexArray, no_rows
from cofactor_server.ranking.diversity import diversified
from cofactor_server.ranking.filters import EVERYTHING, ItemSelection

# The best so many items are reordered where results are to differ from each other; the others follow by score.
DIVERSITY_POOL = 256


# What is made in every call is never changed, and still not frozen: that costs 5 of 45 microseconds.


@dataclass(slots=True, eq=False)
class UserVector:
    """A user as the graphs take one.

    Attributes:
        factors: (1, d).
        bias: (1,).
        rated_rows: item rows the user has rated, ascending, without repeats.
        is_fallback: whether it is the average user in place of an unknown one.
    """

    factors: FloatArray
    bias: FloatArray
    rated_rows: IndexArray = field(default_factory=no_rows)
    is_fallback: bool = False


def always_wanted() -> bool:
    """For work that no caller can give up."""
    return True


@dataclass(slots=True, eq=False)
class TopKQuery:
    """The k best items of one user, without some. 1 <= k <= n_items - len(excluded_rows).

    `is_wanted` says whether the caller still waits; a query that is not may be dropped before it runs.
    """

    user: UserVector
    popularity_weight: float
    excluded_rows: IndexArray
    k: int
    is_wanted: Callable[[], bool] = always_wanted


@dataclass(slots=True, eq=False)
class Ranking:
    """Items, best first.

    Attributes:
        rows: (m,).
        scores: (m,) that they are ordered by.
        ratings: (m,) predicted.
        has_more: whether more follow on a next page.
    """

    rows: IndexArray
    scores: FloatArray
    ratings: FloatArray
    has_more: bool = False

    def page(self, offset: int, size: int, *, has_more: bool) -> Ranking:
        """Some of the results, from `offset`."""
        if offset == 0 and len(self.rows) <= size:
            return Ranking(self.rows, self.scores, self.ratings, has_more)
        chosen = slice(offset, offset + size)
        return Ranking(self.rows[chosen], self.scores[chosen], self.ratings[chosen], has_more)

    def take(self, positions: IndexArray) -> Ranking:
        """The results at these positions, in their order."""
        return Ranking(self.rows[positions], self.scores[positions], self.ratings[positions])


_NO_FLOATS: FloatArray = np.empty(0, dtype=np.float32)
NOTHING = Ranking(NO_ROWS, _NO_FLOATS, _NO_FLOATS)


@dataclass(slots=True, eq=False)
class RankingQuery:
    """What Recommend asks for one user.

    Attributes:
        user: for whom.
        offset: results before this page.
        page_size: results wanted.
        selection: which items may be returned.
        popularity_weight: multiple of log(rating count + 1) added to the logit.
        leave_out_rated: whether what the user has rated is left out.
        diversity: 0 to 1, the weight of being unlike the results before.
        min_rating: items predicted lower are left out.
        is_wanted: whether the caller still waits.
    """

    user: UserVector
    offset: int
    page_size: int
    selection: ItemSelection = EVERYTHING
    popularity_weight: float = 0.0
    leave_out_rated: bool = True
    diversity: float = 0.0
    min_rating: float | None = None
    is_wanted: Callable[[], bool] = always_wanted

    @property
    def excluded_rows(self) -> IndexArray:
        """Every row that must not be returned, ascending."""
        excluded = self.selection.excluded_rows
        if not self.leave_out_rated or len(self.user.rated_rows) == 0:
            return excluded
        return np.union1d(excluded, self.user.rated_rows) if len(excluded) else self.user.rated_rows

    @property
    def end(self) -> int:
        """Results up to the end of this page."""
        return self.offset + self.page_size

    @property
    def depth(self) -> int:
        """Best items by score that decide this page."""
        return max(self.end, DIVERSITY_POOL) if self.diversity else self.end


class TopK(Protocol):
    """Finds the best items of the whole catalogue."""

    def one(self, query: TopKQuery) -> Ranking:
        """The answer to one query."""

    def many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """The answers to several, in their order."""


class Scores(Protocol):
    """Predicts single items."""

    def predict(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """(B, d), (B,), (N,) with B = 1 or N -> logits (N,), ratings (N,)."""


class Ranker:
    """Answers ranking queries for one model version.

    item_factors (n_items + 1, q), inverse_norms (n_items + 1,), log_popularity (n_items + 1,).
    """

    def __init__(
        self,
        top_k: TopK,
        scores: Scores,
        item_factors: FloatArray,
        inverse_norms: FloatArray,
        log_popularity: FloatArray,
    ) -> None:
        self._top_k = top_k
        self._scores = scores
        self._item_factors = item_factors
        self._inverse_norms = inverse_norms
        self._log_popularity = log_popularity
        self._n_items = len(log_popularity) - 1

    def rank(self, query: RankingQuery) -> Ranking:
        """One page of one user's ranking."""
        if self._needs_every_score(query):
            return self._rank_selected(query)
        top = self._top_k_query(query)
        if top is None:
            return NOTHING
        return self._page(query, self._top_k.one(top), self._n_items - len(top.excluded_rows))

    def rank_many(self, queries: Sequence[RankingQuery]) -> list[Ranking]:
        """One page for each query; those over the whole catalogue run together."""
        rankings = [NOTHING] * len(queries)
        together: list[tuple[int, TopKQuery]] = []
        for position, query in enumerate(queries):
            if self._needs_every_score(query):
                rankings[position] = self._rank_selected(query)
                continue
            top = self._top_k_query(query)
            if top is not None:
                together.append((position, top))
        answers = self._top_k.many([top for _, top in together])
        for (position, top), answer in zip(together, answers, strict=True):
            rankings[position] = self._page(queries[position], answer, self._n_items - len(top.excluded_rows))
        return rankings

    @staticmethod
    def _needs_every_score(query: RankingQuery) -> bool:
        """Whether the best k of the catalogue are not the answer: an allow-list, or a floor that is not the order."""
        floor_is_the_order = query.min_rating is None or query.popularity_weight == 0
        return query.selection.allowed_rows is not None or not floor_is_the_order

    def _top_k_query(self, query: RankingQuery) -> TopKQuery | None:
        """The query for the engine; None where nothing is left for this page."""
        excluded = query.excluded_rows
        available = self._n_items - len(excluded)
        if available <= query.offset:
            return None
        # With a floor, one result more tells whether a next page begins.
        k = min(query.depth + (query.min_rating is not None), available)
        return TopKQuery(query.user, query.popularity_weight, excluded, k, query.is_wanted)

    def _rank_selected(self, query: RankingQuery) -> Ranking:
        """Scores every item that may be returned and keeps the best."""
        rows = query.selection.allowed_rows
        if rows is None:
            rows = np.arange(self._n_items)
        excluded = query.excluded_rows
        if len(excluded):
            rows = np.setdiff1d(rows, excluded, assume_unique=True)
        if len(rows) == 0:
            return NOTHING
        logits, ratings = self._scores.predict(query.user.factors, query.user.bias, rows)
        scores = logits + np.float32(query.popularity_weight) * self._log_popularity[rows]
        if query.min_rating is not None:
            kept = ratings >= query.min_rating
            rows, scores, ratings = rows[kept], scores[kept], ratings[kept]
        best = best_positions(scores, query.depth)
        return self._page(query, Ranking(rows, scores, ratings).take(best), len(rows))

    def _page(self, query: RankingQuery, ranking: Ranking, n_available: int) -> Ranking:
        if query.min_rating is not None:
            kept = ranking.ratings >= query.min_rating
            if not np.all(kept):
                ranking = ranking.take(np.flatnonzero(kept))
                n_available = len(ranking.rows)
        if query.diversity and len(ranking.rows):
            ranking = self._diversify(query, ranking)
        return ranking.page(query.offset, query.page_size, has_more=n_available > query.end)

    def _diversify(self, query: RankingQuery, ranking: Ranking) -> Ranking:
        pool = ranking.rows[:DIVERSITY_POOL]
        vectors = self._item_factors[pool] * self._inverse_norms[pool, None]
        order = diversified(ranking.scores[:DIVERSITY_POOL], vectors, query.diversity, query.end)
        return ranking.take(np.concatenate([order, np.arange(len(pool), len(ranking.rows))]))


def best_positions(scores: FloatArray, k: int) -> IndexArray:
    """Positions of the k highest scores, best first, the lower first among equals: (n,) -> (min(k, n),)."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero(scores >= threshold)
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]
