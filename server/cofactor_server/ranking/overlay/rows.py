"""Rows of a version and of its overlay: the added items have the rows after the last item of the version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import BoolArray, IndexArray
from cofactor_server.ranking.catalogue import Titles

T = TypeVar("T")
N = TypeVar("N", bound=np.generic)


class RemovedRows:
    """Items of a version that an overlay removes.

    Attributes:
        rows: (r,) their rows, ascending and unique.
        mask: (n_items,) True for these rows.
    """

    def __init__(self, rows: IndexArray, n_items: int, replacements: dict[int, int]) -> None:
        """`replacements` maps the rows of removed items to those of added items with the same ids."""
        self.rows = rows
        self.mask: BoolArray = np.zeros(n_items, dtype=bool)
        self.mask[rows] = True
        self._n_items = n_items
        self._replacements = replacements

    def __len__(self) -> int:
        return len(self.rows)

    def leave_out(self, rows: IndexArray) -> IndexArray:
        """Return rows (n,), of the version and of added items, without those that are removed."""
        end = count_below(rows, self._n_items)
        is_removed = self.mask[rows[:end]]
        if not is_removed.any():
            return rows
        return np.concatenate([rows[:end][~is_removed], rows[end:]])

    @property
    def has_replacements(self) -> bool:
        """Return True if an added item has the id of a removed one."""
        return bool(self._replacements)

    def replacements_of(self, rows: IndexArray) -> IndexArray:
        """Return the rows (m,) of the added items that have the ids of some removed items, rows (n,)."""
        found = [self._replacements[row] for row in rows.tolist() if row in self._replacements]
        return np.array(found, dtype=np.int64)


def count_below(rows: IndexArray, n_items: int) -> int:
    """Return how many of some ascending rows belong to the version."""
    if len(rows) == 0 or rows[-1] < n_items:
        return len(rows)
    return int(np.searchsorted(rows, n_items))


def from_both(
    rows: IndexArray,
    n_items: int,
    of_version: Callable[[IndexArray], npt.NDArray[N]],
    of_added: Callable[[IndexArray], npt.NDArray[N]],
) -> npt.NDArray[N]:
    """Return a number or a vector of each row (n,), in any order; `of_added` gets the rows counted from 0."""
    is_added = rows >= n_items
    if not is_added.any():
        return of_version(rows)
    added = of_added(rows[is_added] - n_items)
    if is_added.all():
        return added
    values = np.empty((len(rows), *added.shape[1:]), dtype=added.dtype)
    values[is_added] = added
    values[~is_added] = of_version(rows[~is_added])
    return values


class JoinedSequence(Sequence[T]):
    """Two sequences, one after the other, without a copy."""

    def __init__(self, first: Sequence[T], second: Sequence[T]) -> None:
        self._first, self._second, self._n_first = first, second, len(first)

    def __len__(self) -> int:
        return self._n_first + len(self._second)

    def __getitem__(self, index: int) -> T:  # type: ignore[override] # slices are not needed
        return self._first[index] if index < self._n_first else self._second[index - self._n_first]


class JoinedTitles:
    """Titles of the items of a version, and then of the added items."""

    def __init__(self, first: Titles, second: Titles) -> None:
        self._first, self._second, self._n_first = first, second, len(first)

    def __len__(self) -> int:
        return self._n_first + len(self._second)

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        yield from self._second

    def __getitem__(self, row: int, /) -> str:
        return self._first[row] if row < self._n_first else self._second[row - self._n_first]

    def byte_lengths(self, rows: slice, /) -> IndexArray:
        """Return the lengths of some titles in bytes; `rows` has a start and a stop."""
        n = self._n_first
        first = self._first.byte_lengths(slice(min(rows.start, n), min(rows.stop, n)))
        second = self._second.byte_lengths(slice(max(rows.start - n, 0), max(rows.stop - n, 0)))
        return np.concatenate([first, second])
