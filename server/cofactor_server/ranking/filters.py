"""Turn conditions on items into the rows to allow, if they are few, or the rows to exclude."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np

from cofactor_server.arrays import NO_ROWS, BoolArray, IndexArray, no_rows
from cofactor_server.ranking.catalogue import Catalogue
from cofactor_server.ranking.filter_expressions import compile_expression
from cofactor_server.ranking.row_sets import union, without

MAX_CACHED_FILTERS = 32
# With a larger share of the catalogue, a dot product ranks the allowed items faster by scoring the whole catalogue: its
# graph leaves out any number of rows at little cost. Of 100,000 items, 5,000 take a third of that time one by one,
# 20,000 one and a half times. A network takes its time for every item that it scores.
LARGEST_ALLOWED_SHARE = 0.1
LARGEST_ALLOWED_SHARE_OF_NETWORK = 0.5


@dataclass(frozen=True, slots=True)
class AttributeFilter:
    """Conditions on items, combined with AND. A condition is off at its default.

    All but `expression` are short forms of filter expressions, such as `release_year >= 1990`.
    """

    any_genres: tuple[str, ...] = ()
    excluded_genres: tuple[str, ...] = ()
    min_release_year: int | None = None
    max_release_year: int | None = None
    min_rating_count: int = 0
    expression: str = ""

    @property
    def is_empty(self) -> bool:
        """Return True if every item meets the conditions."""
        return self == NO_FILTER


NO_FILTER = AttributeFilter()


@dataclass(frozen=True, slots=True, eq=False)
class ItemSelection:
    """The items that may be returned: `allowed_rows` (None allows all items) without `excluded_rows`.

    Both are ascending and unique.
    """

    allowed_rows: IndexArray | None = None
    excluded_rows: IndexArray = field(default_factory=no_rows)


ALL_ITEMS = ItemSelection()


class ItemFilters:
    """Selects items of one catalogue, and caches the selections of the filters used last."""

    def __init__(self, catalogue: Catalogue, *, has_network: bool = False) -> None:
        """`has_network` is True if the model scores items with a neural network."""
        largest_share = LARGEST_ALLOWED_SHARE_OF_NETWORK if has_network else LARGEST_ALLOWED_SHARE
        # The cache wraps a function, not a method: a reference to self would keep a replaced version from being freed.
        self._select = lru_cache(maxsize=MAX_CACHED_FILTERS)(partial(_select, catalogue, largest_share))

    def select(
        self, conditions: AttributeFilter, candidate_rows: IndexArray | None, excluded_rows: IndexArray
    ) -> ItemSelection:
        """Return the candidates (None: all items) that meet the conditions and are not excluded.

        Raises InvalidFilterExpression.
        """
        if candidate_rows is not None:
            allowed = candidate_rows
            if not conditions.is_empty:
                allowed = _allowed_candidates(self._select(conditions), candidate_rows)
            return ItemSelection(allowed, excluded_rows)
        if conditions.is_empty:
            return ItemSelection(None, excluded_rows) if len(excluded_rows) else ALL_ITEMS
        selection = self._select(conditions)
        if len(excluded_rows) == 0:
            return selection
        return ItemSelection(selection.allowed_rows, union(selection.excluded_rows, excluded_rows))


def _select(catalogue: Catalogue, largest_share: float, conditions: AttributeFilter) -> ItemSelection:
    mask = _mask(catalogue, conditions)
    if np.count_nonzero(mask) > largest_share * len(mask):
        return ItemSelection(None, np.flatnonzero(~mask))
    return ItemSelection(np.flatnonzero(mask), NO_ROWS)


def _allowed_candidates(selection: ItemSelection, candidate_rows: IndexArray) -> IndexArray:
    """Return the candidates, ascending, that a selection of the whole catalogue allows."""
    if selection.allowed_rows is not None:
        return without(candidate_rows, without(candidate_rows, selection.allowed_rows))
    return without(candidate_rows, selection.excluded_rows)


def _mask(catalogue: Catalogue, conditions: AttributeFilter) -> BoolArray:
    """Return (n_items,), True for items that meet the conditions."""
    mask = np.ones(catalogue.n_items, dtype=bool)
    if conditions.any_genres:
        mask &= catalogue.has_any_genre(conditions.any_genres)
    if conditions.excluded_genres:
        mask &= ~catalogue.has_any_genre(conditions.excluded_genres)
    if conditions.min_release_year is not None or conditions.max_release_year is not None:
        mask &= catalogue.release_years != 0
    if conditions.min_release_year is not None:
        mask &= catalogue.release_years >= conditions.min_release_year
    if conditions.max_release_year is not None:
        mask &= catalogue.release_years <= conditions.max_release_year
    if conditions.min_rating_count > 0:
        mask &= catalogue.rating_counts >= conditions.min_rating_count
    if conditions.expression:
        mask &= compile_expression(conditions.expression, catalogue.attributes.schema).mask(catalogue)
    return mask
