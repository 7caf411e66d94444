"""The items of a version: titles, genres, release years, rating counts and biases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from cofactor_server.arrays import BoolArray, IndexArray, Int32Array, typed_table
from cofactor_server.ranking.attribute_columns.column import Value
from cofactor_server.ranking.attributes import ItemAttributes
from cofactor_server.repository.version_directory import VersionDirectory

# The same numbers as in the trainer's report, which lists the best and the worst items too.
FEWEST_RATINGS = 20
FEWEST_RANKED_ITEMS = 100

Order = Literal["highest_bias", "lowest_bias", "most_rated", "most_informative"]


class Titles(Protocol):
    """The titles of items by row."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over all titles, by row."""

    def __getitem__(self, row: int, /) -> str:
        """Return the title of a row."""

    def byte_lengths(self, rows: slice, /) -> IndexArray:
        """Return the lengths of some titles in bytes; `rows` has a start and a stop."""


@dataclass(frozen=True)
class ItemRecord:
    """One item, in the form that people read."""

    title: str
    genres: tuple[str, ...]
    release_year: int
    rating_count: int
    bias: float
    attributes: Mapping[str, Value] = field(default_factory=dict)


class Catalogue:
    """The items of a version by row.

    Attributes:
        n_items: number of items; rows are 0 to n_items - 1.
        titles: titles by row.
        release_years: (n_items,), 0 if unknown.
        rating_counts: (n_items,).
        biases: (n_items,), how much users like each item regardless of their taste. It is the learned bias in versions
            without the table item_effect.
        attributes: the attributes that filter expressions can use.
    """

    def __init__(self, directory: VersionDirectory) -> None:
        tables = directory.tables
        self.n_items = int(directory.manifest.item_count)
        self.titles: Titles = directory.strings("item_titles")
        self.release_years = typed_table(tables, "item_release_years", np.int32)
        self.rating_counts = typed_table(tables, "item_rating_counts", np.int64)
        effect = "item_effect" if "item_effect" in tables else "item_bias"
        self.biases = typed_table(tables, effect, np.float32)[: self.n_items]
        self._genre_names = directory.strings("genre_names").strings()
        self._genre_numbers = {name: number for number, name in enumerate(self._genre_names)}
        self._genre_offsets = typed_table(tables, "item_genres.offsets", np.int64)
        self._genre_indices = typed_table(tables, "item_genres.indices", np.int32)
        self.attributes = ItemAttributes(directory)
        self._sorted_rows: dict[Order, Int32Array] = {}
        if "starter_items.rows" in tables:
            self._sorted_rows["most_informative"] = typed_table(tables, "starter_items.rows", np.int32)

    def record(self, row: int) -> ItemRecord:
        """Return the item of a row."""
        start, end = self._genre_offsets[row], self._genre_offsets[row + 1]
        return ItemRecord(
            title=self.titles[row],
            genres=tuple(self._genre_names[g] for g in self._genre_indices[start:end]),
            release_year=int(self.release_years[row]),
            rating_count=int(self.rating_counts[row]),
            bias=float(self.biases[row]),
            attributes=self.attributes.values(row),
        )

    def has_any_genre(self, genres: tuple[str, ...]) -> BoolArray:
        """Return (n_items,), True for items with at least one of the genres. Unknown genres match no item."""
        mask = np.zeros(self.n_items, dtype=bool)
        for genre in genres:
            number = self._genre_numbers.get(genre)
            if number is not None:
                mask[self._rows_of_genre(number)] = True
        return mask

    def sum_over_genres(self, of_lengths: Callable[[IndexArray], IndexArray], rows: slice) -> IndexArray:
        """Return the sum over the genres of some items of a number that follows from a genre's length in bytes."""
        numbers = of_lengths(np.array([len(name.encode()) for name in self._genre_names], dtype=np.int64))
        offsets = self._genre_offsets[rows.start : rows.stop + 1]
        totals = np.cumsum(numbers[self._genre_indices[offsets[0] : offsets[-1]]])
        sums: IndexArray = np.diff(np.concatenate([[0], totals])[offsets - offsets[0]])
        return sums

    def _rows_of_genre(self, number: int) -> Int32Array:
        rows, bounds = self._rows_by_genre
        return rows[bounds[number] : bounds[number + 1]]

    @cached_property
    def _rows_by_genre(self) -> tuple[Int32Array, IndexArray]:
        """Return the item rows sorted by genre, and the bounds of each genre: rows[bounds[g]:bounds[g + 1]]."""
        rows = np.repeat(np.arange(self.n_items, dtype=np.int32), np.diff(self._genre_offsets))
        order = np.argsort(self._genre_indices, kind="stable")
        counts = np.bincount(self._genre_indices, minlength=len(self._genre_names))
        return rows[order], np.concatenate([[0], np.cumsum(counts)])

    def sorted_rows(self, order: Order) -> Int32Array:
        """Return every row in this order, equal items by row; for "most_informative" at most 100 rows.

        By bias, items with too few ratings to be called the best or the worst come after all others. A version without
        a list of informative items has its most rated ones instead.
        """
        if order not in self._sorted_rows:
            self._sorted_rows[order] = self._sort(order).astype(np.int32)
        return self._sorted_rows[order]

    def _sort(self, order: Order) -> IndexArray:
        if order in ("most_rated", "most_informative"):
            return np.argsort(-self.rating_counts, kind="stable")
        keys = self.biases if order == "lowest_bias" else -self.biases
        return np.lexsort((keys, self.rating_counts < fewest_ratings_to_rank(self.rating_counts)))


def fewest_ratings_to_rank(rating_counts: IndexArray) -> int:
    """Return how many ratings an item needs to be among the best or the worst: 20, or fewer in a small table.

    It is at most the count of the 100th most rated item, so that at least 100 items are ranked if there are as many.
    """
    ranked = min(FEWEST_RANKED_ITEMS, len(rating_counts))
    return min(FEWEST_RATINGS, int(np.partition(rating_counts, -ranked)[-ranked]))
