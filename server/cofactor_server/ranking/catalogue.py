"""What is known of the items of a version: titles, genres, years, counts and biases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import BoolArray, FloatArray, IndexArray
from cofactor_server.repository.string_table import StringTable
from cofactor_server.repository.version_directory import VersionDirectory

Order = Literal["highest_bias", "lowest_bias", "most_rated"]


@dataclass(frozen=True)
class ItemRecord:
    """One item, as people see it."""

    title: str
    genres: tuple[str, ...]
    release_year: int
    rating_count: int
    bias: float


class Catalogue:
    """The items of a version by row.

    Attributes:
        n_items: items; rows are 0 to n_items - 1.
        titles: by row.
        release_years: (n_items,), 0 where not known.
        rating_counts: (n_items,).
        biases: (n_items,).
    """

    def __init__(self, bundle: VersionDirectory) -> None:
        tables = bundle.tables
        self.n_items = int(bundle.manifest.item_count)
        self.titles: StringTable = bundle.strings("item_titles")
        self.release_years: npt.NDArray[np.int32] = tables["item_release_years"]  # type: ignore[assignment]
        self.rating_counts: IndexArray = tables["item_rating_counts"]  # type: ignore[assignment]
        self.biases: FloatArray = tables["item_bias"][: self.n_items]  # type: ignore[assignment]
        self._genre_names = bundle.strings("genre_names").strings()
        self._genre_numbers = {name: number for number, name in enumerate(self._genre_names)}
        self._genre_offsets: IndexArray = tables["item_genres.offsets"]  # type: ignore[assignment]
        self._genre_indices: npt.NDArray[np.int32] = tables["item_genres.indices"]  # type: ignore[assignment]

    def record(self, row: int) -> ItemRecord:
        """The item of a row."""
        start, end = self._genre_offsets[row], self._genre_offsets[row + 1]
        return ItemRecord(
            title=self.titles[row],
            genres=tuple(self._genre_names[g] for g in self._genre_indices[start:end]),
            release_year=int(self.release_years[row]),
            rating_count=int(self.rating_counts[row]),
            bias=float(self.biases[row]),
        )

    def has_any_genre(self, genres: tuple[str, ...]) -> BoolArray:
        """(n_items,): which items have at least one of the genres; a genre that no item has matches nothing."""
        mask = np.zeros(self.n_items, dtype=bool)
        for genre in genres:
            number = self._genre_numbers.get(genre)
            if number is not None:
                mask[self._rows_of_genre(number)] = True
        return mask

    def _rows_of_genre(self, number: int) -> npt.NDArray[np.int32]:
        by_genre, bounds = self._items_by_genre
        return by_genre[bounds[number] : bounds[number + 1]]

    @cached_property
    def _items_by_genre(self) -> tuple[npt.NDArray[np.int32], IndexArray]:
        """The genre lists turned round: item rows by genre, and where each genre begins."""
        rows = np.repeat(np.arange(self.n_items, dtype=np.int32), np.diff(self._genre_offsets))
        order = np.argsort(self._genre_indices, kind="stable")
        counts = np.bincount(self._genre_indices, minlength=len(self._genre_names))
        return rows[order], np.concatenate([[0], np.cumsum(counts)])

    def top_rows(self, order: Order) -> npt.NDArray[np.int32]:
        """Every row in the order asked for; equal ones by row."""
        return {
            "highest_bias": self._by_highest_bias,
            "lowest_bias": self._by_lowest_bias,
            "most_rated": self._by_rating_count,
        }[order]

    @cached_property
    def _by_highest_bias(self) -> npt.NDArray[np.int32]:
        return np.argsort(-self.biases, kind="stable").astype(np.int32)

    @cached_property
    def _by_lowest_bias(self) -> npt.NDArray[np.int32]:
        return np.argsort(self.biases, kind="stable").astype(np.int32)

    @cached_property
    def _by_rating_count(self) -> npt.NDArray[np.int32]:
        return np.argsort(-self.rating_counts, kind="stable").astype(np.int32)
