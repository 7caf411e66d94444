"""Look up the ratings of one user, or of one item."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float64Array, Int64Array

Rows = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]


def sums_by_row(rows: Rows, values: Float64Array, n_rows: int) -> Float64Array:
    """Add up values (n,) by row (n,): (n_rows,)."""
    return np.bincount(rows, values, n_rows).astype(np.float64)


class PairTable:
    """Values of pairs of rows of two sides, such as users and items, by row of the first side."""

    def __init__(self, own_rows: Rows, other_rows: Rows, values: Floats, n_rows: int) -> None:
        """Sort the pairs: own_rows (n,), other_rows (n,), values (n,); n_rows of the first side."""
        order = np.argsort(own_rows, kind="stable")
        self._other_rows = other_rows[order].astype(np.int64)
        self._values = values[order].astype(np.float64)
        self._starts = np.searchsorted(own_rows[order], np.arange(n_rows + 1))

    def of(self, row: int) -> tuple[Int64Array, Float64Array]:
        """Return the other rows (m,) and the values (m,) of a row."""
        part = slice(self._starts[row], self._starts[row + 1])
        return self._other_rows[part], self._values[part]

    def rows(self) -> Int64Array:
        """Return the rows that have pairs, ascending."""
        return np.flatnonzero(np.diff(self._starts)).astype(np.int64)
