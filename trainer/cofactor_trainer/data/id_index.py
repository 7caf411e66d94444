"""Assign rows to ids, in the order of their UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cofactor_trainer.data.dataset import Int64Array, RowArray


class IdIndexBuilder:
    """Collects ids chunk by chunk and sorts them at the end.

    Until then every id has a code: its position in the order of first appearance.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def add(self, distinct_ids: Iterable[str]) -> RowArray:
        """Add the ids that are new and return the code of every id, (n_distinct_ids,)."""
        codes = self._codes
        return np.array([codes.setdefault(value, len(codes)) for value in distinct_ids], dtype=np.int32)

    def build(self) -> tuple[list[str], RowArray]:
        """Return the sorted ids and the row of every code, (n_ids,).

        Python compares strings by code point, which is also the order of their UTF-8 bytes.
        """
        ids = sorted(self._codes)
        rows = np.empty(len(ids), dtype=np.int32)
        rows[[self._codes[value] for value in ids]] = np.arange(len(ids))
        return ids, rows


def drop_unused_rows(rows: RowArray, n_rows: int) -> tuple[Int64Array, RowArray]:
    """Renumber rows so that only those that occur remain.

    rows (n,) with values 0 to n_rows, where n_rows stands for the unknown -> used (m,), the old rows that occur,
    ascending, and new_rows (n_rows + 1,), the new row of every old one. Rows that do not occur become m, the new
    unknown row.
    """
    occurs = np.zeros(n_rows + 1, dtype=bool)
    occurs[rows] = True
    used = np.flatnonzero(occurs[:n_rows]).astype(np.int64)
    new_rows = np.full(n_rows + 1, len(used), dtype=np.int32)
    new_rows[used] = np.arange(len(used))
    return used, new_rows
