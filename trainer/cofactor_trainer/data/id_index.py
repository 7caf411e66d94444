"""Ids become rows, in the order of their UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cofactor_trainer.data.dataset import Int64Array, RowArray


class IdCollector:
    """Numbers ids in the order of their appearance, a block at a time, and sorts them at the end."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, distinct_ids: Iterable[str]) -> RowArray:
        """The number of each id, new ids included; (n_distinct_ids,)."""
        codes = self._codes
        return np.array([codes.setdefault(value, len(codes)) for value in distinct_ids], dtype=np.int32)

    def sorted(self) -> tuple[list[str], RowArray]:
        """Ids in the order of their UTF-8 bytes, and the row of each number, (n_ids,).

        Python compares strings by code point, which is the order of their UTF-8 bytes.
        """
        ids = sorted(self._codes)
        rows = np.empty(len(ids), dtype=np.int32)
        rows[[self._codes[value] for value in ids]] = np.arange(len(ids))
        return ids, rows


def compact_rows(rows: RowArray, n_rows: int) -> tuple[Int64Array, RowArray]:
    """A vocabulary of only those rows that occur.

    rows (n,) values 0 to n_rows, n_rows being the unknown -> kept (m,) old rows that occur, ascending, and
    renumbered (n_rows + 1,): the new row of every old one, m (the new unknown row) for those that do not occur.
    """
    occurs = np.zeros(n_rows + 1, dtype=bool)
    occurs[rows] = True
    kept = np.flatnonzero(occurs[:n_rows]).astype(np.int64)
    renumbered = np.full(n_rows + 1, len(kept), dtype=np.int32)
    renumbered[kept] = np.arange(len(kept))
    return kept, renumbered
