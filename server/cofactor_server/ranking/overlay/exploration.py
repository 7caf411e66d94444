"""Give places of a page to added items, drawn at random in proportion to exp(score).

Drawing k items one after another, each with a probability proportional to exp(score) among those that are left, is the
same as taking the k largest of score + Gumbel noise (Yellott, 1977, https://doi.org/10.1016/0022-2496(77)90026-8).
The propensity of a drawn item is the probability that its noisy score exceeds the largest one that was not drawn. With
it, sums over the drawn items estimate sums over all candidates without bias (Kool, van Hoof and Welling, 2019,
https://arxiv.org/abs/1903.06059, section 4.2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from cofactor_server.arrays import BoolArray, FloatArray, IndexArray
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


@dataclass(slots=True, eq=False)
class _Page:
    """The items of a page.

    Attributes:
        positions: (m,) positions in the ranking and, after its end, in the candidates.
        is_exploration: (m,) True for drawn items.
        propensities: (m,) probability that a drawn item was drawn; 1 for the others.
    """

    positions: IndexArray
    is_exploration: BoolArray
    propensities: FloatArray


_NO_PAGE = _Page(np.empty(0, dtype=np.int64), np.empty(0, dtype=bool), np.empty(0, dtype=np.float32))


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
    so_far, page = _List(), _NO_PAGE
    for number in range(offset // page_size + 1):
        n_places = min(page_size, len(ranking.rows) - number * page_size)
        page = _page(ranking, candidates, exploration, so_far, number, max(0, n_places))
    explored = everything.take(page.positions)
    explored.has_more = ranking.has_more
    explored.is_exploration, explored.propensities = page.is_exploration, page.propensities
    return explored


def _page(
    ranking: Ranking, candidates: Ranking, exploration: Exploration, so_far: _List, number: int, n_places: int
) -> _Page:
    """Return a page of at most n_places items."""
    random = np.random.default_rng(list(hashlib.blake2b(exploration.seed + b"%d" % number, digest_size=16).digest()))
    n_drawn = int(exploration.share * n_places + random.random())
    by_score = _next(ranking, so_far, n_places - n_drawn)
    drawn, drawn_propensities = _draw(candidates, random.gumbel(size=len(candidates.rows)), so_far.returned, n_drawn)
    so_far.returned.update(candidates.rows[drawn].tolist())
    by_score += _next(ranking, so_far, n_places - len(by_score) - len(drawn))  # there may be too few to draw
    is_exploration: BoolArray = np.zeros(len(by_score) + len(drawn), dtype=bool)
    is_exploration[random.choice(len(is_exploration), len(drawn), replace=False)] = True
    positions = np.empty(len(is_exploration), dtype=np.int64)
    positions[~is_exploration] = by_score
    positions[is_exploration] = len(ranking.rows) + drawn
    propensities: FloatArray = np.ones(len(is_exploration), dtype=np.float32)
    propensities[is_exploration] = drawn_propensities
    return _Page(positions, is_exploration, propensities)


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


def _draw(candidates: Ranking, noise: Float64Array, returned: set[int], count: int) -> tuple[IndexArray, Float64Array]:
    """Draw at most `count` candidates that are not returned yet.

    Return their positions (m,), in the order of the draw, and their propensities (m,).
    """
    is_left = np.array([row not in returned for row in candidates.rows.tolist()], dtype=bool)
    left = np.flatnonzero(is_left)
    noisy_scores = candidates.scores + noise
    by_noisy_score: IndexArray = left[np.argsort(-noisy_scores[left], kind="stable")]
    drawn = by_noisy_score[:count]
    if len(by_noisy_score) <= count:  # all of them
        return drawn, np.ones(len(drawn))
    threshold = noisy_scores[by_noisy_score[count]]
    # The noise of an item exceeds x with the probability 1 - exp(-exp(-x)).
    return drawn, -np.expm1(-np.exp(candidates.scores[drawn] - threshold))
