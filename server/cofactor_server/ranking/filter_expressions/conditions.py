"""The conditions of a filter expression, evaluated for all items at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cofactor_server.arrays import BoolArray
from cofactor_server.ranking.attribute_columns.column import Column
from cofactor_server.ranking.attributes import ItemAttributes


class Condition(Protocol):
    """A condition on items."""

    def mask(self, attributes: ItemAttributes) -> BoolArray:
        """Return (n_items,), True for items that meet the condition; the array is new."""


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on one attribute; `test` returns a new array (n_items,)."""

    attribute: str
    test: Callable[[Column], BoolArray]

    def mask(self, attributes: ItemAttributes) -> BoolArray:
        """Return (n_items,), True for items that meet the condition."""
        return self.test(attributes.column(self.attribute))


@dataclass(frozen=True, slots=True)
class IsKnown:
    """The condition that the value of an attribute is known."""

    attribute: str

    def mask(self, attributes: ItemAttributes) -> BoolArray:
        """Return (n_items,), True for items that have a value."""
        return attributes.column(self.attribute).is_known()


@dataclass(frozen=True, slots=True)
class Not:
    """The condition that another one is not met, for example because a value is not known."""

    part: Condition

    def mask(self, attributes: ItemAttributes) -> BoolArray:
        """Return (n_items,), True for items that do not meet the part."""
        mask = self.part.mask(attributes)
        return np.logical_not(mask, out=mask)


@dataclass(frozen=True, slots=True)
class AllOf:
    """The condition that all parts are met."""

    parts: tuple[Condition, ...]

    def mask(self, attributes: ItemAttributes) -> BoolArray:
        """Return (n_items,), True for items that meet all parts."""
        mask = self.parts[0].mask(attributes)
        for part in self.parts[1:]:
            mask &= part.mask(attributes)
        return mask


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The condition that one part is met."""

    parts: tuple[Condition, ...]

    def mask(self, attributes: ItemAttributes) -> BoolArray:
        """Return (n_items,), True for items that meet one of the parts."""
        mask = self.parts[0].mask(attributes)
        for part in self.parts[1:]:
            mask |= part.mask(attributes)
        return mask
