"""Rank the catalogue for a user. Works on arrays only and knows neither gRPC nor ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cofactor_server.arrays import NO_ROWS, BoolArray, FloatArray, IndexArray, no_rows
from cofactor_server.ranking.diversity import diversify
from cofactor_server.ranking.filters import ALL_ITEMS, ItemSelection
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import BY_RATING, Order
from cofactor_server.ranking.row_sets import union, without

# Diversity reorders this many of the best items. The others follow by score.
DIVERSITY_POOL = 256


# Every call creates objects of the classes below. They are never changed, but freezing them would cost 5 of a call's
# 45 microseconds.


@dataclass(slots=True, eq=False)
class UserVector:
    """A user in the form that the graphs take.

    Attributes:
        factors: (1, d).
        bias: (1,).
        rated_rows: item rows that the user has rated or has events of, ascending and unique.
        is_fallback: True if this is the average user, served in place of an unknown one.
        is_new: True unless the user is one of the training data; a version may have another order for new users.
    """

    factors: FloatArray
    bias: FloatArray
    rated_rows: IndexArray = field(default_factory=no_rows)
    is_fallback: bool = False
    is_new: bool = False


def always_active() -> bool:
    """Return True: for queries that nobody can cancel."""
    return True


@dataclass(slots=True, eq=False)
class Exploration:
    """Ask for places on every page for items that an overlay has added.

    Attributes:
        share: share of the places, above 0 and at most 1.
        seed: the random numbers follow from it.
    """

    share: float
    seed: bytes


@dataclass(slots=True, eq=False)
class TopKQuery:
    """Ask for the k best items of one user, without the excluded rows. 1 <= k <= n_items - len(excluded_rows).

    `is_active` returns False once the caller has cancelled or its deadline has passed. Such a query may be dropped
    before it runs.
    """

    user: UserVector
    order: Order
    excluded_rows: IndexArray
    k: int
    is_active: Callable[[], bool] = always_active


@dataclass(slots=True, eq=False)
class Ranking:
    """Ranked items, best first.

    Attributes:
        rows: (m,) item rows.
        scores: (m,) scores that the items are ordered by.
        ratings: (m,) predicted ratings.
        has_more: True if more items follow on the next page.
        is_exploration: (m,) True for items that have their place by chance; None if there are none.
        propensities: (m,) for these items, the probability that they were drawn; None if there are none.
        probabilities: (m,) probabilities of interaction, NaN for items without one; None if nobody asked for them.
    """

    rows: IndexArray
    scores: FloatArray
    ratings: FloatArray
    has_more: bool = False
    is_exploration: BoolArray | None = None
    propensities: FloatArray | None = None
    probabilities: FloatArray | None = None

    def page(self, offset: int, size: int, *, has_more: bool) -> Ranking:
        """Return up to `size` items, from `offset` on."""
        if offset == 0 and len(self.rows) <= size:
            return Ranking(self.rows, self.scores, self.ratings, has_more)
        chosen = slice(offset, offset + size)
        return Ranking(self.rows[chosen], self.scores[chosen], self.ratings[chosen], has_more)

    def take(self, positions: IndexArray) -> Ranking:
        """Return the items at these positions, in the order of the positions."""
        return Ranking(self.rows[positions], self.scores[positions], self.ratings[positions])


_NO_FLOATS: FloatArray = np.empty(0, dtype=np.float32)
EMPTY_RANKING = Ranking(NO_ROWS, _NO_FLOATS, _NO_FLOATS)


@dataclass(slots=True, eq=False)
class RankingQuery:
    """Ask for one page of one user's ranking.

    The fields are not grouped into smaller dataclasses: each of these would add 0.1 microseconds to every call.

    Attributes:
        user: the user to rank for.
        offset: number of items on the pages before this one.
        page_size: largest number of items on this page.
        selection: items that may be returned.
        order: weights of the logits and of popularity in the score.
        exclude_rated: True to exclude the items that the user has rated.
        diversity: weight from 0 to 1 of being unlike the items ranked before.
        min_rating: items with a lower predicted rating are excluded.
        is_active: see TopKQuery.
        exploration: places for items that an overlay has added; None for no such places.
    """

    user: UserVector
    offset: int
    page_size: int
    selection: ItemSelection = ALL_ITEMS
    order: Order = BY_RATING
    exclude_rated: bool = True
    diversity: float = 0.0
    min_rating: float | None = None
    is_active: Callable[[], bool] = always_active
    exploration: Exploration | None = None

    @property
    def excluded_rows(self) -> IndexArray:
        """Return every row that must not be returned, ascending and unique."""
        excluded = self.selection.excluded_rows
        if not self.exclude_rated or len(self.user.rated_rows) == 0:
            return excluded
        return union(excluded, self.user.rated_rows) if len(excluded) else self.user.rated_rows

    @property
    def end(self) -> int:
        """Return the number of items up to the end of this page."""
        return self.offset + self.page_size

    @property
    def depth(self) -> int:
        """Return how many of the best-scoring items decide what is on this page."""
        return max(self.end, DIVERSITY_POOL) if self.diversity else self.end


class TopK(Protocol):
    """Finds the best items of the whole catalogue."""

    def find(self, query: TopKQuery) -> Ranking:
        """Return the ranking for one query."""

    def find_many(self, queries: Sequence[TopKQuery]) -> list[Ranking]:
        """Return the ranking for each query, in their order."""


class Ranker:
    """Answers ranking queries for one model version.

    Args:
        top_k: finds the best items where the whole catalogue is ranked.
        scorer: scores single items where a query needs more than the best k.
    """

    def __init__(self, top_k: TopK, scorer: ItemScorer) -> None:
        self._top_k = top_k
        self._scorer = scorer
        self._n_served = scorer.n_items  # items that a user without ratings may get

    def rank(self, query: RankingQuery) -> Ranking:
        """Return one page of one user's ranking."""
        if self.needs_every_score(query):
            return self._rank_selected(query)
        top = self._top_k_query(query)
        if top is None:
            return EMPTY_RANKING
        return self._page(query, self._top_k.find(top), self._n_served - len(top.excluded_rows))

    def rank_many(self, queries: Sequence[RankingQuery]) -> list[Ranking]:
        """Return one page for each query. Queries over the whole catalogue share runs of the engine."""
        rankings = [EMPTY_RANKING] * len(queries)
        shared: list[tuple[int, TopKQuery]] = []
        for position, query in enumerate(queries):
            if self.needs_every_score(query):
                rankings[position] = self._rank_selected(query)
                continue
            top = self._top_k_query(query)
            if top is not None:
                shared.append((position, top))
        found = self._top_k.find_many([top for _, top in shared])
        for (position, top), ranking in zip(shared, found, strict=True):
            rankings[position] = self._page(queries[position], ranking, self._n_served - len(top.excluded_rows))
        return rankings

    @staticmethod
    def needs_every_score(query: RankingQuery) -> bool:
        """Return True if the best k of the catalogue do not answer the query.

        That is so with an allow-list, and with a minimum rating unless the items are ordered by rating.
        """
        return query.selection.allowed_rows is not None or not (query.min_rating is None or query.order.is_by_rating)

    def _top_k_query(self, query: RankingQuery) -> TopKQuery | None:
        """Return the query for the whole catalogue, or None if no items are left for this page."""
        excluded = self.excluded_rows(query)
        available = self._n_served - len(excluded)
        if available <= query.offset:
            return None
        # With a minimum rating, one more item tells if there is a next page.
        k = min(query.depth + (query.min_rating is not None), available)
        return TopKQuery(query.user, query.order, excluded, k, query.is_active)

    def _rank_selected(self, query: RankingQuery) -> Ranking:
        """Score every item that may be returned and rank the best."""
        rows = self._served_rows(query.selection.allowed_rows)
        excluded = self.excluded_rows(query)
        rows = without(rows, excluded)
        if len(rows) == 0:
            return EMPTY_RANKING
        scores, ratings = self._scorer.score(query.user.factors, query.user.bias, query.order, rows)
        if query.min_rating is not None:
            passed = ratings >= query.min_rating
            rows, scores, ratings = rows[passed], scores[passed], ratings[passed]
        best = best_positions(scores, query.depth)
        return self._page(query, Ranking(rows, scores, ratings).take(best), len(rows))

    def _served_rows(self, rows: IndexArray | None) -> IndexArray:
        """Return those of the rows that are served, ascending; None stands for the whole catalogue."""
        return np.arange(self._n_served) if rows is None else rows

    def excluded_rows(self, query: RankingQuery) -> IndexArray:
        """Return the served rows that must not be returned, ascending and unique."""
        return query.excluded_rows

    def _page(self, query: RankingQuery, ranking: Ranking, n_available: int) -> Ranking:
        if query.min_rating is not None:
            passed = ranking.ratings >= query.min_rating
            if not np.all(passed):
                ranking = ranking.take(np.flatnonzero(passed))
                n_available = len(ranking.rows)
        if query.diversity and len(ranking.rows):
            ranking = self._diversify(query, ranking)
        return ranking.page(query.offset, query.page_size, has_more=n_available > query.end)

    def _diversify(self, query: RankingQuery, ranking: Ranking) -> Ranking:
        pool = ranking.rows[:DIVERSITY_POOL]
        vectors = self._scorer.unit_vectors(pool)
        order = diversify(ranking.scores[:DIVERSITY_POOL], vectors, query.diversity, query.end)
        return ranking.take(np.concatenate([order, np.arange(len(pool), len(ranking.rows))]))


def best_positions(scores: FloatArray, k: int) -> IndexArray:
    """Return the positions of the k highest scores, best first and equal scores by position: (n,) -> (min(k, n),)."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero(scores >= threshold)
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]
