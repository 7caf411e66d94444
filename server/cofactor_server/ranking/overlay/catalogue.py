"""Filter, search and list the items of a version and its overlay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cofactor_server.arrays import BoolArray, IndexArray, Int32Array
from cofactor_server.ranking.attribute_columns.column import AttributeType, Column, Value
from cofactor_server.ranking.attributes import ItemAttributes
from cofactor_server.ranking.catalogue import Catalogue, ItemRecord, Order
from cofactor_server.ranking.filters import ALL_ITEMS, AttributeFilter, ItemFilters, ItemSelection
from cofactor_server.ranking.overlay.rows import JoinedTitles, RemovedRows, count_below
from cofactor_server.ranking.title_search import Int8Array, TitleSearch


class JoinedColumn:
    """An attribute of the items of a version, and then of the added items."""

    def __init__(self, version: Column, added: Column, n_items: int) -> None:
        """`n_items` is the number of items of the version."""
        self._version, self._added, self._n_items = version, added, n_items

    @property
    def type(self) -> AttributeType:
        """Return the type of the values."""
        return self._version.type

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items whose value is known."""
        return np.concatenate([self._version.is_known(), self._added.is_known()])

    def value(self, row: int) -> Value | None:
        """Return the value of an item; None if it is not known."""
        return self._version.value(row) if row < self._n_items else self._added.value(row - self._n_items)


class JoinedAttributes(ItemAttributes):
    """The attributes of the items of a version, and then of the added items. Filters ask both kinds for their own."""

    def __init__(self, version: ItemAttributes, added: ItemAttributes, n_items: int) -> None:
        """`n_items` is the number of items of the version."""
        self._columns = {
            name: JoinedColumn(version.column(name), added.column(name), n_items) for name in version.schema
        }
        self.further = {name: self._columns[name] for name in version.further}
        self._built_in = {name: column for name, column in self._columns.items() if name not in self.further}
        self.schema = version.schema


class OverlaidCatalogue(Catalogue):
    """The items of a version by row, and then the added items. Removed items keep their rows and are in no list."""

    def __init__(self, version: Catalogue, added: Catalogue, removed: RemovedRows | None) -> None:
        self._version, self._added, self._removed = version, added, removed
        self.n_items = version.n_items + added.n_items
        self.titles = JoinedTitles(version.titles, added.titles)
        self.release_years = np.concatenate([version.release_years, added.release_years])
        self.rating_counts = np.concatenate([version.rating_counts, added.rating_counts])
        self.biases = np.concatenate([version.biases, added.biases])
        self.attributes = JoinedAttributes(version.attributes, added.attributes, version.n_items)
        self._sorted_rows: dict[Order, Int32Array] = {}

    def record(self, row: int) -> ItemRecord:
        """Return the item of a row."""
        n = self._version.n_items
        return self._version.record(row) if row < n else self._added.record(row - n)

    def has_any_genre(self, genres: tuple[str, ...]) -> BoolArray:
        """Return (n_items,), True for items with at least one of the genres. Unknown genres match no item."""
        return np.concatenate([self._version.has_any_genre(genres), self._added.has_any_genre(genres)])

    def sum_over_genres(self, of_lengths: Callable[[IndexArray], IndexArray], rows: slice) -> IndexArray:
        """Return the sum over the genres of some items of a number that follows from a genre's length in bytes."""
        n = self._version.n_items
        own = self._version.sum_over_genres(of_lengths, slice(min(rows.start, n), min(rows.stop, n)))
        added = self._added.sum_over_genres(of_lengths, slice(max(rows.start - n, 0), max(rows.stop - n, 0)))
        return np.concatenate([own, added])

    def sorted_rows(self, order: Order) -> Int32Array:
        """Return every row that is served in this order, equal items by row; see Catalogue for "most_informative"."""
        if order not in self._sorted_rows:
            # No added item tells much about a new user: hardly anybody knows it yet.
            is_list = order == "most_informative"
            rows = self._version.sorted_rows(order) if is_list else self._sort(order).astype(np.int32)
            if self._removed is not None:
                is_removed = np.zeros(self.n_items, dtype=bool)
                is_removed[self._removed.rows] = True
                rows = rows[~is_removed[rows]]
            self._sorted_rows[order] = rows
        return self._sorted_rows[order]


class OverlaidFilters(ItemFilters):
    """Selects items with the filters of a version and those of the added items. Removed items may be selected."""

    def __init__(self, version: ItemFilters, added: ItemFilters, n_items: int, n_added: int) -> None:
        """`n_items` is the number of items of the version."""
        self._version, self._added = version, added
        self._n_items, self._n_added = n_items, n_added
        self.largest_allowed_share = version.largest_allowed_share

    def select(
        self, conditions: AttributeFilter, candidate_rows: IndexArray | None, excluded_rows: IndexArray
    ) -> ItemSelection:
        """Return the candidates (None: all items) that meet the conditions and are not excluded."""
        own_candidates, added_candidates = self._split(candidate_rows)
        end = count_below(excluded_rows, self._n_items)
        own = self._version.select(conditions, own_candidates, excluded_rows[:end])
        added = self._added.select(conditions, added_candidates, excluded_rows[end:] - self._n_items)
        return self._join(own, added)

    def _split(self, rows: IndexArray | None) -> tuple[IndexArray | None, IndexArray | None]:
        if rows is None:
            return None, None
        end = count_below(rows, self._n_items)
        return rows[:end], rows[end:] - self._n_items

    def _join(self, own: ItemSelection, added: ItemSelection) -> ItemSelection:
        """Join the selections of both kinds of items, in the form that the selection of the version's items has."""
        n, excluded = self._n_items, own.excluded_rows
        if own.allowed_rows is None:
            left_out = added.excluded_rows
            if added.allowed_rows is not None:
                all_added = np.arange(self._n_added)
                left_out = np.union1d(left_out, np.setdiff1d(all_added, added.allowed_rows, assume_unique=True))
            if len(left_out):
                excluded = np.concatenate([excluded, left_out + n])
            return ItemSelection(None, excluded) if len(excluded) else ALL_ITEMS
        allowed = np.arange(self._n_added) if added.allowed_rows is None else added.allowed_rows
        return ItemSelection(
            np.concatenate([own.allowed_rows, allowed + n]), np.concatenate([excluded, added.excluded_rows + n])
        )


class OverlaidTitleSearch(TitleSearch):
    """Searches the titles of a version and those of the added items, without removed items."""

    def __init__(
        self,
        version: TitleSearch,
        added: TitleSearch,
        catalogue: OverlaidCatalogue,
        removed: RemovedRows | None,
        n_items: int,
    ) -> None:
        """`n_items` is the number of items of the version."""
        super().__init__(catalogue)
        self._version, self._added, self._removed = version, added, removed
        self._n_items = n_items

    def find_matches(self, query: str) -> tuple[IndexArray, Int8Array]:
        """Return the rows of these titles, ascending, and how each matches: 0 if it equals the query, 1, or 2."""
        rows, ranks = self._version.find_matches(query)
        if self._removed is not None:
            is_served = ~self._removed.mask[rows]
            rows, ranks = rows[is_served], ranks[is_served]
        added_rows, added_ranks = self._added.find_matches(query)
        return np.concatenate([rows, added_rows + self._n_items]), np.concatenate([ranks, added_ranks])
