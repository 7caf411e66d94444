"""Define the interface that all columns of item attributes share."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from cofactor_server.arrays import BoolArray

AttributeType = Literal["text", "number", "boolean", "time", "texts"]
Value: TypeAlias = str | float | bool | datetime | tuple[str, ...]
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Up to this many values are compared one by one; more are looked up in a table.
FEW = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Column(Protocol):
    """An attribute of all items. Every mask that a method returns is new: the caller may change it."""

    @property
    def type(self) -> AttributeType:
        """Return the type of the values."""

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items whose value is known."""

    def value(self, row: int) -> Value | None:
        """Return the value of an item, None if it is unknown."""


def any_of(masks: Iterable[BoolArray], n_items: int) -> BoolArray:
    """Return (n_items,), True where one of the masks is True."""
    combined = np.zeros(n_items, dtype=bool)
    for mask in masks:
        combined |= mask
    return combined


def to_microseconds(time: datetime) -> int:
    """Return a time with a zone in microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def to_time(microseconds: int) -> datetime:
    """Return a number of microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
