"""Decide which places of a list must go to the group of a guarantee, as late as the guarantees allow.

All guarantees have the same window w, and their minimums add up to at most w. Every window of w consecutive places ends
at some place, the deadline for what it still lacks. The guarantees can all be kept as long as, for every deadline, the
items that are lacking until then are no more than the places that are free until then: Hall's condition for unit jobs
with deadlines. A window that begins at a place that is not filled yet can always be filled, because the minimums add up
to at most w; so it is enough to look at the windows that contain the next place.
"""

from __future__ import annotations

from collections.abc import Sequence

from cofactor_server.ranking.rules.rule_set import Guarantee


class GuaranteeCount:
    """The places of the items of every group: those that are filled, and those that pins will take.

    Args:
        guarantees: the guarantees.
        pins: place of each pin -> for each guarantee, True if the pinned item is in its group.
        n_places: number of places of the list.
    """

    def __init__(self, guarantees: Sequence[Guarantee], pins: dict[int, tuple[bool, ...]], n_places: int) -> None:
        self._minimums = [guarantee.min_count for guarantee in guarantees]
        self._window = guarantees[0].window if guarantees else 0
        self._open = set(range(len(guarantees)))
        size = n_places + 2 * self._window + 1
        # Per group and for pins: 1 at a place with such an item. Slices of these are summed, and they are short.
        self._members = [bytearray(size) for _ in guarantees]
        self._pinned = bytearray(size)
        for place, groups in pins.items():
            if place < size:
                self._pinned[place] = 1
                self.add(groups, place)

    def add(self, groups: Sequence[bool], place: int) -> None:
        """Note that an item stands at `place`; `groups` says for each guarantee if the item is in its group."""
        for members, is_member in zip(self._members, groups, strict=True):
            members[place] = is_member

    def close(self, number: int) -> None:
        """Stop asking for items of a group, because there are none left."""
        self._open.discard(number)

    def groups_in_need(self, place: int) -> list[int]:
        """Return the guarantees to one of whose groups `place` must go; none if any item may have it."""
        if not self._open:
            return []
        window = self._window
        needs = dict.fromkeys(sorted(self._open), 0)
        for deadline in range(max(place, window), place + window):
            start = deadline - window + 1
            for number in needs:
                lacking = self._minimums[number] - sum(self._members[number][start : deadline + 1])
                needs[number] = max(needs[number], lacking)
            free_later = deadline - place - sum(self._pinned[place + 1 : deadline + 1])
            if sum(needs.values()) > free_later:
                return [number for number, need in needs.items() if need > 0]
        return []
