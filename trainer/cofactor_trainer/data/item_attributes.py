"""Hold typed attributes of the items, such as brand, price and tags, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

AttributeType = Literal["text", "number", "boolean", "time", "texts"]
ATTRIBUTE_TYPES: tuple[AttributeType, ...] = get_args(AttributeType)
# The value of an item whose time is unknown.
NO_TIME = np.iinfo(np.int64).min

Value = str | float | bool | datetime | tuple[str, ...]
AnyArray = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DTYPES: dict[AttributeType, type[np.generic]] = {
    "text": np.int32,
    "number": np.float64,
    "boolean": np.int8,
    "time": np.int64,
    "texts": np.int32,
}
_MISSING: dict[AttributeType, float] = {"text": -1, "number": np.nan, "boolean": -1, "time": NO_TIME}


@dataclass(frozen=True, eq=False)
class AttributeColumn:
    """One attribute of all items; entry i describes item row i.

    Attributes:
        name: unique; letters, digits and "_", not beginning with a digit.
        type: "text", "number", "boolean", "time" or "texts" (any number of texts).
        values: (n_items,), by type. text: int32 positions in ``texts``, -1 where unknown. number: float64, NaN where
            unknown. boolean: int8, 0, 1 or -1 where unknown. time: int64 microseconds since 1970, NO_TIME where
            unknown. texts: (n_values,), the int32 positions of all items, item after item, ascending in every item.
        texts: the distinct texts of text and texts, ascending; empty for other types.
        offsets: texts only: (n_items + 1,), the values of item i are values[offsets[i] : offsets[i + 1]].
    """

    name: str
    type: AttributeType
    values: AnyArray
    texts: tuple[str, ...] = ()
    offsets: Int64Array | None = None

    @classmethod
    def of_values(cls, name: str, kind: AttributeType, values: Sequence[Value | None]) -> AttributeColumn:
        """Build a column of one value per item: str, float, bool, datetime with a zone or tuple; None if unknown."""
        if kind == "texts":
            lists = [sorted(set(value or ())) for value in values]  # type: ignore[arg-type]
            texts = sorted({text for row in lists for text in row})
            code = {text: position for position, text in enumerate(texts)}
            codes = np.array([code[text] for row in lists for text in row], np.int32)
            return cls(name, kind, codes, tuple(texts), _offsets(np.array([len(row) for row in lists], np.int64)))
        if kind == "text":
            texts = sorted({value for value in values if isinstance(value, str)})
            code_of: dict[Value | None, int] = {text: position for position, text in enumerate(texts)}
            return cls(name, kind, np.array([code_of.get(value, -1) for value in values], np.int32), tuple(texts))
        plain = [_microseconds(value) if isinstance(value, datetime) else value for value in values]
        missing = int(_MISSING[kind]) if kind != "number" else np.nan
        return cls(name, kind, np.array([missing if value is None else value for value in plain], _DTYPES[kind]))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items that have a value; an item without texts has none."""
        if self.offsets is not None:
            return np.diff(self.offsets) > 0
        if self.type == "number":
            return ~np.isnan(self.values)
        known: BoolArray = self.values != _MISSING[self.type]
        return known

    def value(self, row: int) -> Value | None:
        """Return the value of an item, None if it is unknown."""
        if self.offsets is not None:
            codes = self.values[self.offsets[row] : self.offsets[row + 1]]
            return tuple(self.texts[code] for code in codes) or None
        value = self.values[row].item()
        if value != value or value == _MISSING[self.type]:
            return None
        if self.type == "time":
            return _EPOCH + timedelta(microseconds=value)
        return self.texts[value] if self.type == "text" else bool(value) if self.type == "boolean" else value

    def select(self, rows: Int64Array) -> AttributeColumn:
        """Return the column of other items: rows (m,) of this one, -1 for an item without a value."""
        is_item = rows >= 0
        if self.offsets is None:
            values = np.full(len(rows), _MISSING[self.type], self.values.dtype)
            values[is_item] = self.values[rows[is_item]]
            return self._without_unused_texts(values, None)
        counts = np.where(is_item, np.diff(self.offsets)[rows], 0) if self.n_items else np.zeros(len(rows), np.int64)
        offsets = _offsets(counts)
        starts = np.where(is_item, self.offsets[rows], 0)
        places = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        return self._without_unused_texts(self.values[places], offsets)

    def _without_unused_texts(self, values: AnyArray, offsets: Int64Array | None) -> AttributeColumn:
        if self.type not in ("text", "texts"):
            return replace(self, values=values)
        used = np.unique(values[values >= 0])
        codes = np.where(values >= 0, np.searchsorted(used, values), -1).astype(np.int32)
        return replace(self, values=codes, texts=tuple(self.texts[code] for code in used), offsets=offsets)


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """The attributes of all items, in the order of the columns of their file; names are unique."""

    columns: tuple[AttributeColumn, ...] = ()

    def select(self, rows: Int64Array) -> ItemAttributes:
        """Return the attributes of other items: rows (m,) of these, -1 for an item without any value."""
        return ItemAttributes(tuple(column.select(rows) for column in self.columns))


NO_ATTRIBUTES = ItemAttributes()


def _offsets(counts: Int64Array) -> Int64Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
