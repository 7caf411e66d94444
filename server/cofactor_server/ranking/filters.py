"""Which items may be returned: conditions become a list of rows to keep or to leave out, whichever is shorter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np

from cofactor_server.arrays import NO_ROWS, BoolArray, IndexArray, no_rows
from cofactor_server.ranking.catalogue import Catalogue

CACHED_FILTERS = 32


@dataclass(frozen=True, slots=True)
class AttributeFilter:
    """Conditions on items, combined with AND; each is off at its default."""

    any_genres: tuple[str, ...] = ()
    excluded_genres: tuple[str, ...] = ()
    min_release_year: int | None = None
    max_release_year: int | None = None
    min_rating_count: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it lets every item through."""
        return self == NO_FILTER


NO_FILTER = AttributeFilter()


@dataclass(frozen=True, slots=True, eq=False)
class ItemSelection:
    """Items that may be returned: `allowed_rows` if not None, else all; in both cases without `excluded_rows`.

    Both ascending and without repeats.
    """

    allowed_rows: IndexArray | None = None
    excluded_rows: IndexArray = field(default_factory=no_rows)


EVERYTHING = ItemSelection()


class ItemFilters:
    """Resolves filters against one catalogue; the last ones are remembered."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        # Of the catalogue, not of a method: a cache that refers to its owner keeps a replaced version from being freed.
        self._select = lru_cache(maxsize=CACHED_FILTERS)(partial(_resolve, catalogue))

    def select(
        self, conditions: AttributeFilter, candidate_rows: IndexArray | None, excluded_rows: IndexArray
    ) -> ItemSelection:
        """The items that meet the conditions, are candidates (None: all are) and are not excluded."""
        if candidate_rows is not None:
            allowed = candidate_rows
            if not conditions.is_empty:
                allowed = allowed[_mask(self._catalogue, conditions)[allowed]]
            return ItemSelection(allowed, excluded_rows)
        if conditions.is_empty:
            return ItemSelection(None, excluded_rows) if len(excluded_rows) else EVERYTHING
        selection = self._select(conditions)
        if len(excluded_rows) == 0:
            return selection
        return ItemSelection(selection.allowed_rows, np.union1d(selection.excluded_rows, excluded_rows))


def _resolve(catalogue: Catalogue, conditions: AttributeFilter) -> ItemSelection:
    mask = _mask(catalogue, conditions)
    if 2 * np.count_nonzero(mask) > len(mask):
        return ItemSelection(None, np.flatnonzero(~mask))
    return ItemSelection(np.flatnonzero(mask), NO_ROWS)


def _mask(catalogue: Catalogue, conditions: AttributeFilter) -> BoolArray:
    """(n_items,): which items meet the conditions."""
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
    return mask
