"""Strings of a version directory, stored as one array of bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import IndexArray


class StringTable(Sequence[str]):
    """Sequence of n strings over two arrays: string i is text[offsets[i]:offsets[i + 1]], in UTF-8.

    text (n_bytes,), offsets (n + 1,). Raises ValueError if the offsets do not fit the text.
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

    def byte_lengths(self, rows: slice) -> IndexArray:
        """Return the lengths of some strings in bytes; `rows` has a start and a stop."""
        return np.diff(self._offsets[rows.start : rows.stop + 1])

    def strings(self) -> list[str]:
        """Return all strings."""
        text = self._text.tobytes()
        bounds = self._offsets.tolist()
        pairs = itertools.pairwise(bounds)
        if text.isascii():  # one character a byte: decode once and slice, which is faster
            ascii_text = text.decode("ascii")
            return [ascii_text[start:end] for start, end in pairs]
        return [text[start:end].decode() for start, end in pairs]
