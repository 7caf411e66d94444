"""Find the items that may fill a list: the best by boosted score, from top-k runs and from items scored one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cofactor_server.arrays import BoolArray, FloatArray, IndexArray
from cofactor_server.ranking.ranker import Ranking
from cofactor_server.ranking.rules.rule_set import DoubleArray


@dataclass(frozen=True, slots=True, eq=False)
class ScoredItems:
    """Some items with their scores, in any order.

    Attributes:
        rows: (n,) item rows.
        scores: (n,) scores without boosts.
        ratings: (n,) predicted ratings.
        boosted: (n,) scores with boosts. They are float64, so that a boost never makes unequal scores equal and the
            order within a set of items with one boost stays what it was.
    """

    rows: IndexArray
    scores: FloatArray
    ratings: FloatArray
    boosted: DoubleArray

    def take(self, positions: IndexArray | BoolArray | slice) -> ScoredItems:
        """Return the items at these positions."""
        return ScoredItems(
            self.rows[positions], self.scores[positions], self.ratings[positions], self.boosted[positions]
        )

    def sorted(self) -> ScoredItems:
        """Return the items, best first; equal scores by row."""
        return self.take(np.lexsort((self.rows, -self.scores, -self.boosted)))


def boosted_items(
    rows: IndexArray, scores: FloatArray, ratings: FloatArray, change: DoubleArray | float
) -> ScoredItems:
    """Return items with a change added to their scores."""
    return ScoredItems(rows, scores, ratings, scores.astype(np.float64) + change)


def join(parts: Sequence[ScoredItems]) -> ScoredItems:
    """Return the items of all parts together."""
    if len(parts) == 1:
        return parts[0]
    return ScoredItems(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.ratings for part in parts]),
        np.concatenate([part.boosted for part in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class OrderedItems:
    """The best items by boosted score, best first, and after them some others.

    Attributes:
        items: the items.
        n_certain: number of items at the beginning that are the best of all.
        is_complete: True if `items` are all there are.
    """

    items: ScoredItems
    n_certain: int
    is_complete: bool


def best_items(
    scored: ScoredItems, found: Sequence[tuple[Ranking, float]], depth: int, must_have: BoolArray | None
) -> OrderedItems:
    """Return at least the `depth` best items if there are as many, as far as they are certain.

    scored: all items of the parts that are scored one by one. found: for every other part its best items and the change
    of their scores. must_have: (n_items,), True for items of `scored` that are all returned, however low their scores
    are.
    """
    parts = [boosted_items(ranking.rows, ranking.scores, ranking.ratings, change) for ranking, change in found]
    if len(parts) == 1 and len(scored.rows) == 0:  # in order already
        return OrderedItems(parts[0], len(parts[0].rows), is_complete=not found[0][0].has_more)
    known, n_known = join([scored, *parts]), len(scored.rows) + sum(len(part.rows) for part in parts)
    n_best = n_known
    if n_known > 2 * depth:  # sorting all of them would take longer
        threshold = np.partition(known.boosted, n_known - depth)[n_known - depth]
        is_best = known.boosted >= threshold
        n_best = int(np.count_nonzero(is_best))
        if must_have is not None:
            is_best |= must_have[known.rows]
        known = known.take(is_best)
    known = known.sorted()
    continuing = [ranking for ranking, _ in found if ranking.has_more]
    if not continuing and len(known.rows) == n_known:
        return OrderedItems(known, n_known, is_complete=True)
    n_certain = min([n_best, *(_end_of(known.rows[:n_best], ranking) for ranking in continuing)])
    return OrderedItems(known, n_certain, is_complete=False)


def _end_of(rows: IndexArray, ranking: Ranking) -> int:
    """Return how many of the best `rows` are certain if better items than the last one of `ranking` are all known."""
    places = np.flatnonzero(rows == ranking.rows[-1])
    return int(places[0]) + 1 if len(places) else len(rows)
