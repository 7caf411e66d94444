"""Hold the rules of one rule set as a version ranks with them: rows in place of ids, masks in place of filters."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from cofactor_server.arrays import BoolArray, IndexArray
from cofactor_server.ranking.filters import LARGEST_ALLOWED_SHARE

Kind = Literal["boost", "pin", "cap", "guarantee"]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
Values: TypeAlias = tuple[Hashable, ...]
ValuesOfItem: TypeAlias = Callable[[int], Values]
"""Returns the different values of one attribute of an item, by its row."""


@dataclass(frozen=True, slots=True, eq=False)
class Boost:
    """Change the score of some items.

    Attributes:
        name: name of the rule.
        members: (n_items,), True for the items.
        change: what is added to the calibrated score.
    """

    name: str
    members: BoolArray
    change: float


@dataclass(frozen=True, slots=True)
class Pin:
    """Put the item `row` at a place of the list, from 1."""

    name: str
    row: int
    place: int


@dataclass(frozen=True, slots=True, eq=False)
class Cap:
    """Limit how often each value of an attribute occurs in any `window` consecutive results; 0 is the whole list."""

    name: str
    values: ValuesOfItem
    max_count: int
    window: int


@dataclass(frozen=True, slots=True, eq=False)
class Guarantee:
    """Reserve at least `min_count` of any `window` consecutive results for the items of a group: members (n_items,)."""

    name: str
    members: BoolArray
    min_count: int
    window: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A large part of the catalogue whose items all get the same change of their scores.

    Attributes:
        change: the change of the calibrated score.
        others: rows of all other items, ascending.
        is_other: (n_items,), True for these.
    """

    change: float
    others: IndexArray
    is_other: BoolArray


@dataclass(frozen=True, eq=False)
class Rules:
    """The rules of one rule set on one version.

    Attributes:
        n_items: number of items of the version.
        boosts, pins, caps, guarantees: the rules, in the order of the rule set.
        unknown_item_ids: items of pins that the version does not know.
        largest_scored_share: a larger part of the catalogue than this share is ranked by a top-k run of its own; see
            filters.LARGEST_ALLOWED_SHARE. The items of smaller parts are scored one by one.
    """

    n_items: int
    boosts: Sequence[Boost] = ()
    pins: Sequence[Pin] = ()
    caps: Sequence[Cap] = ()
    guarantees: Sequence[Guarantee] = ()
    unknown_item_ids: tuple[str, ...] = ()
    largest_scored_share: float = LARGEST_ALLOWED_SHARE

    @cached_property
    def changes(self) -> DoubleArray:
        """Return the change of every item's calibrated score, (n_items,): the sum over its boosts."""
        changes = np.zeros(self.n_items)
        for boost in self.boosts:
            changes[boost.members] += boost.change
        return changes

    @cached_property
    def is_small_group(self) -> tuple[bool, ...]:
        """Return for each guarantee True if all items of its group are scored for every request."""
        return tuple(not self._is_large(int(np.count_nonzero(g.members))) for g in self.guarantees)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the catalogue that are worth a top-k run; `scored_rows` are in none of them."""
        # Zero is the change of most items, and of all if there is no boost; both zeros are the same number.
        changes, part_of_row = np.unique(self.changes + 0.0, return_inverse=True)
        part_of_row[self.in_small_group] = -1
        sizes = np.bincount(part_of_row[part_of_row >= 0], minlength=len(changes))
        return tuple(
            Part(change, np.flatnonzero(is_other), is_other)
            for number, (change, size) in enumerate(zip(changes.tolist(), sizes.tolist(), strict=True))
            if self._is_large(size)
            for is_other in [part_of_row != number]
        )

    @cached_property
    def scored_rows(self) -> IndexArray:
        """Return the rows of the items that are scored one by one, ascending."""
        is_scored = np.ones(self.n_items, dtype=bool)
        for part in self.parts:
            is_scored &= part.is_other
        return np.flatnonzero(is_scored)

    @cached_property
    def in_small_group(self) -> BoolArray:
        """Return (n_items,), True for the items of the small groups; all of these are scored for every request."""
        mask = np.zeros(self.n_items, dtype=bool)
        for guarantee, is_small in zip(self.guarantees, self.is_small_group, strict=True):
            if is_small:
                mask |= guarantee.members
        return mask

    def _is_large(self, size: int) -> bool:
        return size > self.largest_scored_share * self.n_items
