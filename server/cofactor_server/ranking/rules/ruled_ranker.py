"""Rank the catalogue for a user by the rules of a rule set. The result is exact, however the scores are distributed.

A boost adds the same number to the scores of a set of items, so it does not change their order among each other. The
catalogue falls into parts of items with the same boosts. The best items of a large part come from a top-k run that
excludes all other parts; the items of small parts are scored one by one; the merged lists are the list by boosted
score. Caps and guarantees may need more candidates than there are places. If the candidates at hand do not decide the
next place, four times as many are fetched, and the list is filled again from its beginning.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cofactor_server.arrays import NO_ROWS, IndexArray
from cofactor_server.ranking.diversity import diversify
from cofactor_server.ranking.filters import ItemSelection
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.ranker import DIVERSITY_POOL, EMPTY_RANKING, Ranker, Ranking, RankingQuery
from cofactor_server.ranking.row_sets import union
from cofactor_server.ranking.rules.arrangement import Arrangement, Candidates, arrange
from cofactor_server.ranking.rules.candidates import OrderedItems, ScoredItems, best_items, boosted_items, join
from cofactor_server.ranking.rules.rule_set import Kind, Part, Pin, Rules

# By how much the number of candidates grows if they do not decide the list.
GROWTH = 4
# Candidates beyond twice the places of a list with caps or guarantees.
_SPARE_CANDIDATES = 32
# Parts of one query that exclude more rows run one by one. In a shared run, two parts of 1,682 items take as long as
# one; two of 100,000 items that exclude half of them take five times as long.
MOST_SHARED_EXCLUSIONS = 4096
_NO_ITEMS = boosted_items(EMPTY_RANKING.rows, EMPTY_RANKING.scores, EMPTY_RANKING.ratings, 0.0)


@dataclass(slots=True, eq=False)
class RuledQuery:
    """Ask for one page of one user's ranking by rules.

    Attributes:
        query: the query without the rules.
        rules: the rules.
        pins: those of the rules' pins that are shown.
        unit: number of score units in one unit of the calibrated score.
        explains: True to say which rules had a say in the place of each item.
    """

    query: RankingQuery
    rules: Rules
    pins: Sequence[Pin]
    unit: float
    explains: bool


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """A rule that had a say in an item's place. `score_change` is what a boost added to the score."""

    name: str
    kind: Kind
    score_change: float = 0.0


@dataclass(slots=True, eq=False)
class RuledRanking:
    """One page of a ranking by rules; for each item the rules that had a say in its place, None if nobody asked."""

    ranking: Ranking
    applied: list[list[AppliedRule]] | None = None


# Yields queries without rules, takes their rankings, and returns the ranking by rules.
_Steps: TypeAlias = Generator[list[RankingQuery], list[Ranking], RuledRanking]


class RuledRanker:
    """Answers ranking queries with rules for one model version.

    Args:
        ranker: ranks parts of the catalogue.
        scorer: scores single items.
        removed_rows: items that an overlay has removed, ascending.
    """

    def __init__(self, ranker: Ranker, scorer: ItemScorer, removed_rows: IndexArray = NO_ROWS) -> None:
        self._ranker = ranker
        self._scorer = scorer
        self._removed_rows = removed_rows

    def rank(self, query: RuledQuery) -> RuledRanking:
        """Return one page of one user's ranking."""
        steps = self._steps(query)
        try:
            asked = next(steps)
            while True:
                asked = steps.send(self._rank_parts(asked))
        except StopIteration as end:
            ranking: RuledRanking = end.value
            return ranking

    def _rank_parts(self, parts: list[RankingQuery]) -> list[Ranking]:
        """Rank the parts of one query: in one run of the engine if that is faster than one by one."""
        if len(parts) > 1 and all(len(part.selection.excluded_rows) <= MOST_SHARED_EXCLUSIONS for part in parts):
            return self._ranker.rank_many(parts)
        return [self._ranker.rank(part) for part in parts]

    def rank_many(self, queries: Sequence[RuledQuery]) -> list[RuledRanking]:
        """Return one page for each query. Their runs of the engine are shared."""
        rankings: list[RuledRanking | None] = [None] * len(queries)
        steps = [self._steps(query) for query in queries]
        answers: dict[int, list[Ranking] | None] = dict.fromkeys(range(len(queries)))
        while answers:
            asked: dict[int, list[RankingQuery]] = {}
            for number, answer in answers.items():
                try:
                    # The type of a generator does not say that it takes None at first.
                    asked[number] = next(steps[number]) if answer is None else steps[number].send(answer)
                except StopIteration as end:
                    rankings[number] = end.value
            found = iter(self._ranker.rank_many([part for parts in asked.values() for part in parts]))
            answers = {number: [next(found) for _ in parts] for number, parts in asked.items()}
        return [ranking for ranking in rankings if ranking is not None]

    def _steps(self, ruled: RuledQuery) -> _Steps:
        query, rules = ruled.query, ruled.rules
        # One more place tells if there is a next page. A forged page token may ask for any offset.
        n_places = min(query.end, rules.n_items) + 1
        pinned_rows = np.array([pin.row for pin in ruled.pins], dtype=np.int64)
        excluded = union(self._ranker.excluded_rows(query), self._removed_rows)
        if len(pinned_rows):
            excluded = union(excluded, np.sort(pinned_rows))
        needs_every_score = self._ranker.needs_every_score(query)
        parts = () if needs_every_score else rules.parts
        rows = query.selection.allowed_rows if needs_every_score else rules.scored_rows
        scored, pinned = self._score(ruled, np.arange(rules.n_items) if rows is None else rows, excluded, pinned_rows)
        must_have = rules.in_small_group if rules.guarantees else None
        found = [EMPTY_RANKING] * len(parts)
        unfinished = list(range(len(parts)))
        depth = _first_depth(ruled, n_places)
        while True:
            asked = [_part_query(query, parts[number], excluded, depth) for number in unfinished]
            answers = (yield asked) if asked else []
            for number, answer in zip(unfinished, answers, strict=True):
                found[number] = answer
            unfinished = [number for number in unfinished if found[number].has_more]
            changes = [part.change * ruled.unit for part in parts]
            ordered = best_items(scored, list(zip(found, changes, strict=True)), depth, must_have)
            if query.diversity:
                ordered = self._diversify(ruled, ordered, n_places)
            arrangement = _arrange(ruled, ordered, n_places)
            if arrangement is not None:
                return _page(ruled, arrangement, join([ordered.items, pinned]))
            depth *= GROWTH

    def _score(
        self, ruled: RuledQuery, rows: IndexArray, excluded: IndexArray, pinned_rows: IndexArray
    ) -> tuple[ScoredItems, ScoredItems]:
        """Score the rows that may be returned, and the pinned rows, in one run."""
        query, rules = ruled.query, ruled.rules
        if len(rows) == 0 and len(pinned_rows) == 0:
            return _NO_ITEMS, _NO_ITEMS
        is_excluded = np.zeros(rules.n_items, dtype=bool)
        is_excluded[excluded] = True
        rows = np.concatenate([rows[~is_excluded[rows]], pinned_rows])
        if len(rows) == 0:
            return _NO_ITEMS, _NO_ITEMS
        scores, ratings = self._scorer.score(query.user.factors, query.user.bias, query.order, rows)
        items = boosted_items(rows, scores, ratings, rules.changes[rows] * ruled.unit)
        n_scored = len(rows) - len(pinned_rows)
        scored, pinned = items.take(slice(0, n_scored)), items.take(slice(n_scored, None))
        if query.min_rating is not None:
            scored = scored.take(scored.ratings >= query.min_rating)
        return scored, pinned

    def _diversify(self, ruled: RuledQuery, ordered: OrderedItems, n_places: int) -> OrderedItems:
        """Put the best items in the order of maximal marginal relevance."""
        n_pool = min(DIVERSITY_POOL, len(ordered.items.rows))
        if n_pool == 0 or (ordered.n_certain < n_pool and not ordered.is_complete):
            return ordered  # too few are certain; the arrangement will see that, too
        pool = ordered.items.take(slice(0, n_pool))
        # Caps and guarantees may pass over any number of items, so that every place in the pool counts.
        n_picks = n_pool if ruled.rules.caps or ruled.rules.guarantees else n_places
        vectors = self._scorer.unit_vectors(pool.rows)
        places = diversify(pool.boosted.astype(np.float32), vectors, ruled.query.diversity, n_picks)
        rest = np.arange(n_pool, len(ordered.items.rows))
        return OrderedItems(ordered.items.take(np.concatenate([places, rest])), ordered.n_certain, ordered.is_complete)


def _first_depth(ruled: RuledQuery, n_places: int) -> int:
    """Return how many candidates to fetch first."""
    depth = n_places
    if ruled.rules.caps or ruled.rules.guarantees:
        depth = 2 * n_places + _SPARE_CANDIDATES
    return max(depth, DIVERSITY_POOL) if ruled.query.diversity else depth


def _part_query(query: RankingQuery, part: Part, excluded: IndexArray, depth: int) -> RankingQuery:
    """Return the query for the best items of one part."""
    if len(part.others):
        excluded = union(part.others, excluded[~part.is_other[excluded]])
    return RankingQuery(
        query.user,
        0,
        depth,
        ItemSelection(None, excluded),
        query.order,
        exclude_rated=False,
        min_rating=query.min_rating,
        is_active=query.is_active,
    )


def _arrange(ruled: RuledQuery, ordered: OrderedItems, n_places: int) -> Arrangement | None:
    """Return the list with the rules applied, or None if more candidates are needed."""
    rules = ruled.rules
    if ruled.query.diversity and ordered.n_certain < DIVERSITY_POOL and not ordered.is_complete:
        return None
    if not (ruled.pins or rules.caps or rules.guarantees):
        is_enough = ordered.is_complete or ordered.n_certain >= n_places
        return Arrangement(ordered.items.rows[:n_places].tolist()) if is_enough else None
    is_group_complete = rules.is_small_group
    candidates = Candidates(ordered.items.rows, ordered.n_certain, ordered.is_complete, is_group_complete)
    return arrange(candidates, rules, ruled.pins, n_places)


def _page(ruled: RuledQuery, arrangement: Arrangement, items: ScoredItems) -> RuledRanking:
    """Return the page of a list, with the scores of its items."""
    query = ruled.query
    page = slice(query.offset, query.end)
    rows = np.array(arrangement.rows[page], dtype=np.int64)
    by_row = np.argsort(items.rows)
    items = items.take(by_row[np.searchsorted(items.rows, rows, sorter=by_row)])
    ranking = Ranking(rows, items.boosted.astype(np.float32), items.ratings, has_more=len(arrangement.rows) > query.end)
    if not ruled.explains:
        return RuledRanking(ranking)
    places = range(query.offset, query.offset + len(rows))
    applied = [_applied(ruled, arrangement, row, place) for row, place in zip(rows.tolist(), places, strict=True)]
    return RuledRanking(ranking, applied)


def _applied(ruled: RuledQuery, arrangement: Arrangement, row: int, place: int) -> list[AppliedRule]:
    """Return the rules that had a say in the place of an item, from 0."""
    rules = ruled.rules
    applied = [
        AppliedRule(boost.name, "boost", boost.change * ruled.unit) for boost in rules.boosts if boost.members[row]
    ]
    if place in arrangement.pins:
        applied.append(AppliedRule(ruled.pins[arrangement.pins[place]].name, "pin"))
    applied += [
        AppliedRule(rules.guarantees[number].name, "guarantee") for number in arrangement.reserved.get(place, ())
    ]
    if row in arrangement.held_back:
        applied.append(AppliedRule(rules.caps[arrangement.held_back[row]].name, "cap"))
    return applied
