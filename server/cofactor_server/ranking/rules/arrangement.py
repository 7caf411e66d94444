"""Fill a list place by place: pins first, then guarantees, then caps, then the order of the candidates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import TypeAlias

import numpy as np

from cofactor_server.arrays import IndexArray
from cofactor_server.ranking.rules.caps import CapCount
from cofactor_server.ranking.rules.guarantees import GuaranteeCount
from cofactor_server.ranking.rules.rule_set import Pin, Rules, Values

# What the rules see of an item: its values for each cap, and whether it is in the group of each guarantee. Items with
# the same traits are interchangeable but for their order.
Traits: TypeAlias = tuple[tuple[Values, ...], tuple[bool, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Items that may fill the list, best first.

    Attributes:
        rows: (n,) item rows, without those of pins. The first `n_certain` are the best of all items. Others may be
            missing between the later ones.
        n_certain: see rows.
        is_complete: True if `rows` are all items and all of them are certain.
        is_group_complete: for each guarantee, True if `rows` has all items of its group.
    """

    rows: IndexArray
    n_certain: int
    is_complete: bool
    is_group_complete: Sequence[bool]


@dataclass(slots=True, eq=False)
class Arrangement:
    """A list with its rules applied.

    Attributes:
        rows: item rows, in their order.
        pins: place, from 0 -> number of the pin that put the item there.
        reserved: place, from 0 -> numbers of the guarantees that it was reserved for.
        held_back: row -> number of the first cap that kept the item from a better place.
    """

    rows: list[int] = field(default_factory=list)
    pins: dict[int, int] = field(default_factory=dict)
    reserved: dict[int, list[int]] = field(default_factory=dict)
    held_back: dict[int, int] = field(default_factory=dict)


class _TooFewCandidatesError(Exception):
    """The next item of the list may be one that is not among the candidates."""


def arrange(candidates: Candidates, rules: Rules, pins: Sequence[Pin], n_places: int) -> Arrangement | None:
    """Return the first `n_places` of the list, or all of it if it is shorter; None if more candidates are needed.

    `pins` are those of the rules that are shown.
    """
    try:
        return _Filling(candidates, rules, pins, n_places).fill()
    except _TooFewCandidatesError:
        return None


class _Filling:
    """The state of a list that is being filled."""

    def __init__(self, candidates: Candidates, rules: Rules, pins: Sequence[Pin], n_places: int) -> None:
        self._candidates = candidates
        self._rules = rules
        self._pins = {pin.place: (number, pin.row) for number, pin in enumerate(pins)}
        self._n_places = n_places
        self._rows: list[int] = candidates.rows.tolist()
        self._is_used = bytearray(len(self._rows))
        self._next = 0  # position of the first candidate that was not looked at yet
        self._waiting: dict[Traits, deque[int]] = {}  # positions of candidates that a cap holds back
        self._caps = [CapCount(cap) for cap in rules.caps]
        groups_at = {pin.place: self._traits(pin.row)[1] for pin in pins}
        self._guarantees = GuaranteeCount(rules.guarantees, groups_at, n_places)
        for pin in pins:
            for count, values in zip(self._caps, self._traits(pin.row)[0], strict=True):
                count.add(values, pin.place)
        self._group_positions = [deque(np.flatnonzero(g.members[candidates.rows]).tolist()) for g in rules.guarantees]
        self._verdicts: dict[Traits, int | None] = {}  # of the caps at this place
        self._list = Arrangement()

    def fill(self) -> Arrangement:
        """Fill all places, and put pins that are left over at the end of a list that is too short for them."""
        result = self._list
        for place in range(1, self._n_places + 1):
            self._verdicts.clear()
            pin = self._pins.pop(place, None)
            if pin is not None:
                result.pins[place - 1], row = pin
                result.rows.append(row)
                continue
            position = self._reserved_position(place)
            if position is None:
                position = self._best_position(place)
            if position is None:
                self._append_pins()
                break
            self._put(position, place)
        return result

    def _put(self, position: int, place: int) -> None:
        self._is_used[position] = True
        row = self._rows[position]
        values_by_cap, groups = self._traits(row)
        for count, values in zip(self._caps, values_by_cap, strict=True):
            count.add(values, place)
        self._guarantees.add(groups, place)
        self._list.rows.append(row)

    def _append_pins(self) -> None:
        result = self._list
        for _, (number, row) in sorted(self._pins.items())[: self._n_places - len(result.rows)]:
            result.pins[len(result.rows)] = number
            result.rows.append(row)

    def _traits(self, row: int) -> Traits:
        rules = self._rules
        return (
            tuple(cap.values(row) for cap in rules.caps),
            tuple(bool(guarantee.members[row]) for guarantee in rules.guarantees),
        )

    def _blocking_cap(self, traits: Traits, place: int) -> int | None:
        """Return the number of the first cap that keeps an item with these traits from `place`, or None."""
        if traits not in self._verdicts:
            checks = zip(self._caps, traits[0], strict=True)
            self._verdicts[traits] = next(
                (number for number, (cap, values) in enumerate(checks) if not cap.allows(values, place)), None
            )
        return self._verdicts[traits]

    def _best_position(self, place: int) -> int | None:
        """Return the position of the best candidate that the caps allow at `place`; None if there is none."""
        held_back = [
            bucket[0]
            for traits, bucket in self._waiting.items()
            if self._drop_used(bucket) and self._blocking_cap(traits, place) is None
        ]
        if held_back:  # all of them are better than those that were not looked at
            return min(held_back)
        while self._next < self._candidates.n_certain:
            position = self._next
            self._next += 1
            if self._is_used[position]:
                continue
            row = self._rows[position]
            traits = self._traits(row)
            blocking = self._blocking_cap(traits, place)
            if blocking is None:
                return position
            self._list.held_back[row] = blocking
            self._waiting.setdefault(traits, deque()).append(position)
        if not self._candidates.is_complete:
            raise _TooFewCandidatesError
        return None

    def _drop_used(self, bucket: deque[int]) -> bool:
        """Remove used candidates from the head of a bucket; return True if some are left."""
        while bucket and self._is_used[bucket[0]]:
            bucket.popleft()
        return bool(bucket)

    def _reserved_position(self, place: int) -> int | None:
        """Return the position of the candidate that the guarantees put at `place`; None if any may stand there."""
        while groups := self._guarantees.groups_in_need(place):
            empty = [number for number in groups if self._is_used_up(number)]
            if not empty:
                position = self._best_of_groups(groups, place)
                row = self._rows[position]
                members = [number for number in groups if self._rules.guarantees[number].members[row]]
                self._list.reserved[place - 1] = members
                return position
            for number in empty:
                self._guarantees.close(number)
        return None

    def _unused(self, number: int) -> Iterator[int]:
        """Yield the unused positions of a group that can be compared with each other, best first."""
        positions = self._group_positions[number]
        while positions and self._is_used[positions[0]]:
            positions.popleft()
        end = len(self._rows) if self._has_all(number) else self._candidates.n_certain
        for position in positions:
            if position >= end:
                return
            if not self._is_used[position]:
                yield position

    def _has_all(self, number: int) -> bool:
        return self._candidates.is_complete or self._candidates.is_group_complete[number]

    def _is_used_up(self, number: int) -> bool:
        """Return True if no item of a group is left."""
        if next(self._unused(number), None) is not None:
            return False
        if not self._has_all(number):
            raise _TooFewCandidatesError
        return True

    def _best_of_groups(self, groups: list[int], place: int) -> int:
        """Return the best position of the groups that the caps allow; the best one if they allow none."""
        has_all = all(map(self._has_all, groups))
        first: int | None = None
        for position in merge(*map(self._unused, groups)):
            first = position if first is None else first
            if self._blocking_cap(self._traits(self._rows[position]), place) is None:
                if position < self._candidates.n_certain or has_all:
                    return position
                break
        if first is None or not has_all:
            raise _TooFewCandidatesError
        return first
