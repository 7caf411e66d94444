"""Keep count of the values of one attribute in a list that is filled place by place."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable

from cofactor_server.ranking.rules.rule_set import Cap, Values


class CapCount:
    """The places of each value of a cap's attribute: those that are filled, and those that pins will take."""

    def __init__(self, cap: Cap) -> None:
        self._max_count = cap.max_count
        self._window = cap.window
        self._places: dict[Hashable, list[int]] = {}  # value -> places, ascending

    def add(self, values: Values, place: int) -> None:
        """Note that an item with these values stands at `place`."""
        for value in values:
            insort(self._places.setdefault(value, []), place)

    def allows(self, values: Values, place: int) -> bool:
        """Return True if an item with these values may stand at `place`, which is free."""
        return all(self._has_room(self._places.get(value, ()), place) for value in values)

    def _has_room(self, places: list[int] | tuple[()], place: int) -> bool:
        """Return False if some window around `place` has max_count of `places` already."""
        most = self._max_count
        if len(places) < most:
            return True
        if not self._window:
            return False
        before = bisect_left(places, place)
        # Of any max_count consecutive places, those and the new one must not fit into one window.
        for start in range(max(0, before - most), min(before, len(places) - most) + 1):
            first, last = places[start], places[start + most - 1]
            if max(last, place) - min(first, place) < self._window:
                return False
        return True
