"""Combine sets of item rows that are ascending and unique, without sorting them again."""

from __future__ import annotations

import numpy as np

from cofactor_server.arrays import IndexArray


def union(rows: IndexArray, others: IndexArray) -> IndexArray:
    """Return the rows of both, ascending and unique; (n,), (m,) -> at most (n + m,).

    Fast if one of them is short: 50,000 rows and 100 take 0.1 ms, and 10 ms with np.union1d, which sorts them.
    """
    if len(rows) < len(others):
        rows, others = others, rows
    if len(others) == 0:
        return rows
    added = without(others, rows)
    return np.insert(rows, np.searchsorted(rows, added), added)


def without(rows: IndexArray, excluded: IndexArray) -> IndexArray:
    """Return `rows` without the excluded ones. Four times faster than np.setdiff1d."""
    if len(excluded) == 0:
        return rows
    places = np.searchsorted(excluded, rows)
    places[places == len(excluded)] = 0
    remaining: IndexArray = rows[excluded[places] != rows]
    return remaining
