"""Strings of a version directory, and ids to rows and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import IndexArray


class StringTable(Sequence[str]):
    """n strings kept as one run of UTF-8 bytes: string i is bytes[offsets[i]:offsets[i + 1]].

    Raises ValueError when the offsets do not fit the bytes.
    """

    def __init__(self, text: npt.NDArray[np.uint8], offsets: IndexArray) -> None:
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(text) or np.any(np.diff(offsets) < 0):
            raise ValueError("string offsets do not fit the strings")
        self._text = text
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override] # slices are not needed
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._text[self._offsets[index] : self._offsets[index + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.strings())

    def strings(self) -> list[str]:
        """All of them; for ASCII text one decoding and n slices."""
        text = self._text.tobytes()
        bounds = self._offsets.tolist()
        pairs = itertools.pairwise(bounds)
        if text.isascii():
            ascii_text = text.decode("ascii")
            return [ascii_text[start:end] for start, end in pairs]
        return [text[start:end].decode() for start, end in pairs]


class IdIndex:
    """Ids and their rows; row i is ids[i]. An unknown id has no row: what to do about it is the caller's decision.

    Raises ValueError when the ids are empty, repeated or out of order.
    """

    def __init__(self, table: StringTable) -> None:
        self.ids: list[str] = table.strings()
        self._rows: dict[str, int] = dict(zip(self.ids, range(len(self.ids)), strict=True))
        self.row = self._rows.get
        if len(self._rows) != len(self.ids) or "" in self._rows:
            raise ValueError("ids are repeated or empty")

    def __len__(self) -> int:
        return len(self.ids)
