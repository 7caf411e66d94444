"""Columns of numbers, times and booleans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import BoolArray
from cofactor_server.ranking.attribute_columns.column import COMPARISONS, FEW, AttributeType, Value, any_of, to_time

NumberArray: TypeAlias = npt.NDArray[Any]
# The value of an item whose time is unknown.
NO_TIME = int(np.iinfo(np.int64).min)


class NumberColumn:
    """A number of every item."""

    type: AttributeType = "number"

    def __init__(self, values: NumberArray, missing: float | None) -> None:
        """Take values (n_items,); `missing` stands for an unknown one, None if all are known."""
        self._values = values
        self._missing = missing

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items whose value is known."""
        if self._missing is None:
            return np.ones(len(self._values), dtype=bool)
        is_missing: BoolArray = np.isnan(self._values) if np.isnan(self._missing) else self._values == self._missing
        return ~is_missing

    def compare(self, comparison: str, number: float) -> BoolArray:
        """Return (n_items,), True for items whose value is known and compares so."""
        mask: BoolArray = COMPARISONS[comparison](self._values, number)
        if self._missing is not None and COMPARISONS[comparison](self._missing, number):
            mask &= self.is_known()
        return mask

    def is_in(self, numbers: Sequence[float]) -> BoolArray:
        """Return (n_items,), True for items whose value is one of these."""
        if len(numbers) <= FEW:
            return any_of((self.compare("=", number) for number in numbers), len(self._values))
        return np.isin(self._values, [number for number in numbers if number != self._missing])

    def value(self, row: int) -> Value | None:
        """Return the value of an item, None if it is unknown."""
        value: float = self._values[row].item()
        return None if value != value or value == self._missing else value

    def range(self) -> tuple[Value, Value] | None:
        """Return the lowest and the highest known value, None if no value is known."""
        known = self._values[self.is_known()]
        return (known.min().item(), known.max().item()) if len(known) else None


class TimeColumn(NumberColumn):
    """A point in time of every item, in microseconds since 1970."""

    type: AttributeType = "time"

    def __init__(self, values: npt.NDArray[np.int64]) -> None:
        """Take values (n_items,); NO_TIME stands for an unknown one."""
        super().__init__(values, NO_TIME)

    def value(self, row: int) -> Value | None:
        """Return the time of an item in UTC, None if it is unknown."""
        microseconds = int(self._values[row])
        return None if microseconds == NO_TIME else to_time(microseconds)

    def range(self) -> tuple[Value, Value] | None:
        """Return the earliest and the latest known time, None if no time is known."""
        known = self._values[self.is_known()]
        return (to_time(int(known.min())), to_time(int(known.max()))) if len(known) else None


class BooleanColumn:
    """A yes or no of every item."""

    type: AttributeType = "boolean"

    def __init__(self, values: npt.NDArray[np.int8]) -> None:
        """Take values (n_items,): 0, 1, or -1 for an unknown one."""
        self._values = values

    def is_known(self) -> BoolArray:
        """Return (n_items,), True for items whose value is known."""
        return self._values >= 0

    def equals(self, value: bool) -> BoolArray:
        """Return (n_items,), True for items with this value."""
        return np.equal(self._values, int(value))

    def value(self, row: int) -> Value | None:
        """Return the value of an item, None if it is unknown."""
        value = int(self._values[row])
        return None if value < 0 else bool(value)
