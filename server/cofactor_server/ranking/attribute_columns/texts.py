"""Columns of one text, or of several texts, of every item."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import BoolArray, IndexArray, Int32Array
from cofactor_server.ranking.attribute_columns.column import COMPARISONS, FEW, AttributeType, Value, any_of
from cofactor_server.repository.string_table import StringTable

CodeArray: TypeAlias = npt.NDArray[np.signedinteger[Any]]


class TextColumn(Protocol):
    """A text of every item. Texts are compared by their code points."""

    @property
    def type(self) -> AttributeType:
        """Return "text"."""

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items whose text is known."""

    def compare(self, comparison: str, text: str) -> BoolArray:
        """Return (n_items,), True for items whose text is known and compares so."""

    def is_in(self, texts: Sequence[str]) -> BoolArray:
        """Return (n_items,), True for items whose text is one of these."""

    def has_prefix(self, prefix: str) -> BoolArray:
        """Return (n_items,), True for items whose text is known and begins so."""

    def select(self, condition: Callable[[str], bool]) -> BoolArray:
        """Return (n_items,), True for items whose text is known and meets a condition."""

    def value(self, row: int) -> Value | None:
        """Return the text of an item, None if it is unknown."""


class OwnTextColumn:
    """Texts that differ from item to item, such as titles: every condition reads all of them."""

    type: AttributeType = "text"

    def __init__(self, texts: StringTable) -> None:
        """Take texts (n_items,), empty where the text is unknown."""
        self._texts = texts

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items whose text is known."""
        return self._texts.byte_lengths(slice(0, len(self._texts))) > 0

    def compare(self, comparison: str, text: str) -> BoolArray:
        """Return (n_items,), True for items whose text is known and compares so."""
        compares = COMPARISONS[comparison]
        return self.select(lambda other: bool(compares(other, text)))

    def is_in(self, texts: Sequence[str]) -> BoolArray:
        """Return (n_items,), True for items whose text is one of these."""
        return self.select(frozenset(texts).__contains__)

    def has_prefix(self, prefix: str) -> BoolArray:
        """Return (n_items,), True for items whose text is known and begins so."""
        return self.select(lambda text: text.startswith(prefix))

    def select(self, condition: Callable[[str], bool]) -> BoolArray:
        """Return (n_items,), True for items whose text is known and meets a condition."""
        return np.array([text != "" and condition(text) for text in self._texts.strings()], dtype=bool)

    def value(self, row: int) -> Value | None:
        """Return the text of an item, None if it is unknown."""
        return self._texts[row] or None


class CodedTextColumn:
    """Texts that items share, such as brands.

    Attributes:
        texts: the different texts, ascending.
        codes: (n_items,), positions in texts, -1 where the text is unknown.
    """

    type: AttributeType = "text"

    def __init__(self, texts: StringTable, codes: CodeArray) -> None:
        self.texts = texts
        self.codes = codes

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items whose text is known."""
        return self.codes >= 0

    def compare(self, comparison: str, text: str) -> BoolArray:
        """Return (n_items,), True for items whose text is known and compares so."""
        start, end, last = bisect_left(self.texts, text), bisect_right(self.texts, text), len(self.texts)
        if comparison == "!=":
            return self.is_known() & ~self._between(start, end)
        bounds = {"=": (start, end), "<": (0, start), "<=": (0, end), ">": (end, last), ">=": (start, last)}
        return self._between(*bounds[comparison])

    def is_in(self, texts: Sequence[str]) -> BoolArray:
        """Return (n_items,), True for items whose text is one of these."""
        if len(texts) <= FEW:
            return any_of((self.compare("=", text) for text in texts), len(self.codes))
        is_wanted = np.zeros(len(self.texts) + 1, dtype=bool)
        is_wanted[[code for code in (code_of(self.texts, text) for text in texts) if code is not None]] = True
        return is_wanted[self.codes]

    def has_prefix(self, prefix: str) -> BoolArray:
        """Return (n_items,), True for items whose text is known and begins so."""

        def beginning(text: str) -> str:
            return text[: len(prefix)]

        start = bisect_left(self.texts, prefix, key=beginning)
        return self._between(start, bisect_right(self.texts, prefix, key=beginning))

    def select(self, condition: Callable[[str], bool]) -> BoolArray:
        """Return (n_items,), True for items whose text is known and meets a condition."""
        # The code -1 of an unknown text reads the last entry.
        meets = np.array([*map(condition, self.texts.strings()), False], dtype=bool)
        return meets[self.codes]

    def value(self, row: int) -> Value | None:
        """Return the text of an item, None if it is unknown."""
        code = int(self.codes[row])
        return None if code < 0 else self.texts[code]

    def _between(self, start: int, end: int) -> BoolArray:
        """Return (n_items,), True for items whose text is one of texts[start:end]."""
        if end <= start:
            return np.zeros(len(self.codes), dtype=bool)
        if end == start + 1:
            return np.equal(self.codes, start)
        mask: BoolArray = self.codes >= start
        if end < len(self.texts):
            mask &= self.codes < end
        return mask


class TextsColumn:
    """Several texts of every item, such as tags.

    Attributes:
        texts: the different texts, ascending.
        codes: (n_values,), positions in texts, item after item.
        offsets: (n_items + 1,), the texts of item i are codes[offsets[i] : offsets[i + 1]].
    """

    type: AttributeType = "texts"

    def __init__(self, texts: StringTable, codes: CodeArray, offsets: IndexArray) -> None:
        self.texts = texts
        self.codes = codes
        self.offsets = offsets

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items with a text."""
        return np.diff(self.offsets) > 0

    def has_any(self, texts: Sequence[str]) -> BoolArray:
        """Return (n_items,), True for items with one of these texts."""
        mask = np.zeros(len(self.offsets) - 1, dtype=bool)
        wanted = {code for code in (code_of(self.texts, text) for text in texts) if code is not None}
        if len(wanted) <= FEW:
            for code in wanted:
                mask[self._rows[self.codes == code]] = True
            return mask
        is_wanted = np.zeros(len(self.texts), dtype=bool)
        is_wanted[list(wanted)] = True
        mask[self._rows[is_wanted[self.codes]]] = True
        return mask

    def value(self, row: int) -> Value | None:
        """Return the texts of an item, None if it has none."""
        codes = self.codes[self.offsets[row] : self.offsets[row + 1]]
        return tuple(self.texts[code] for code in codes.tolist()) or None

    @cached_property
    def _rows(self) -> Int32Array:
        """Return the item row of every value, (n_values,)."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))


def code_of(texts: StringTable, text: str) -> int | None:
    """Return the position of a text among ascending ones, None if it is not among them."""
    position = bisect_left(texts, text)
    return position if position < len(texts) and texts[position] == text else None
