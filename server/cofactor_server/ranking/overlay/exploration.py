"""Give places of a page to added items, drawn at random in proportion to exp(score).

Drawing k items one after another, each with a probability proportional to exp(score) among those that are left, is the
same as taking the k largest of score + Gumbel noise (Yellott, 1977, https://doi.org/10.1016/0022-2496(77)90026-8).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from cofactor_server.arrays import BoolArray, IndexArray
from cofactor_server.ranking.directions import Float64Array
from cofactor_server.ranking.ranker import Exploration, Ranking


@dataclass(slots=True, eq=False)
class _List:
    """The pages of a list so far.

    Attributes:
        returned: rows of the items on the pages before.
        position: number of items of the ranking that are on these pages, or were passed over because they are.
    """

    returned: set[int] = field(default_factory=set)
    position: int = 0


def explore(ranking: Ranking, candidates: Ranking, exploration: Exploration, offset: int, page_size: int) -> Ranking:
    """Return the page from `offset` on of a list that gives places to candidates.

    ranking: the best `offset + page_size` items, or all if there are fewer. candidates: the added items that may be
    returned, in any order. Every item of the whole ranking is on exactly one page, and the pages before are made anew,
    so that pages fit together.
    """
    everything = Ranking(
        np.concatenate([ranking.rows, candidates.rows]),
        np.concatenate([ranking.scores, candidates.scores]),
        np.concatenate([ranking.ratings, candidates.ratings]),
    )
    so_far, page = _List(), np.empty(0, dtype=np.int64)
    is_exploration: BoolArray = np.empty(0, dtype=bool)
    for number in range(offset // page_size + 1):
        n_places = min(page_size, len(ranking.rows) - number * page_size)
        page, is_exploration = _page(ranking, candidates, exploration, so_far, number, max(0, n_places))
    explored = everything.take(page)
    explored.has_more, explored.is_exploration = ranking.has_more, is_exploration
    return explored


def _page(
    ranking: Ranking, candidates: Ranking, exploration: Exploration, so_far: _List, number: int, n_places: int
) -> tuple[IndexArray, BoolArray]:
    """Return the items of a page (n_places,), as positions in the ranking and, after its end, in the candidates."""
    random = np.random.default_rng(list(hashlib.blake2b(exploration.seed + b"%d" % number, digest_size=16).digest()))
    n_drawn = int(exploration.share * n_places + random.random())
    by_score = _next(ranking, so_far, n_places - n_drawn)
    drawn = _draw(candidates, random.gumbel(size=len(candidates.rows)), so_far.returned, n_drawn)
    so_far.returned.update(candidates.rows[drawn].tolist())
    by_score += _next(ranking, so_far, n_places - len(by_score) - len(drawn))  # there may be too few to draw
    is_exploration: BoolArray = np.zeros(len(by_score) + len(drawn), dtype=bool)
    is_exploration[random.choice(len(is_exploration), len(drawn), replace=False)] = True
    page = np.empty(len(is_exploration), dtype=np.int64)
    page[~is_exploration] = by_score
    page[is_exploration] = len(ranking.rows) + drawn
    return page, is_exploration


def _next(ranking: Ranking, so_far: _List, count: int) -> list[int]:
    """Return the positions of the next `count` items of the ranking that are not returned yet, and note them."""
    positions: list[int] = []
    while len(positions) < count and so_far.position < len(ranking.rows):
        row = int(ranking.rows[so_far.position])
        if row not in so_far.returned:
            positions.append(so_far.position)
            so_far.returned.add(row)
        so_far.position += 1
    return positions


def _draw(candidates: Ranking, noise: Float64Array, returned: set[int], count: int) -> IndexArray:
    """Return the positions of at most `count` candidates that are not returned yet, in the order of the draw."""
    is_left = np.array([row not in returned for row in candidates.rows.tolist()], dtype=bool)
    left = np.flatnonzero(is_left)
    drawn: IndexArray = left[np.argsort(-(candidates.scores + noise)[left], kind="stable")[:count]]
    return drawn
