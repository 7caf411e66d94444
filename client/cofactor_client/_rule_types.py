"""Rules about the items of a list and their places, as callers pass them to the client."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cofactor_client._filter_types import ItemFilter, refuse_string


@dataclass(frozen=True)
class Boost:
    """Raises or lowers the score of some items.

    Attributes:
        filter: the items.
        add: added to the calibrated score, whose unit is the standard deviation of a usual user's scores; negative
            numbers bury the items.
        multiply: multiplies the odds, e to the power of the calibrated score; below 1 it buries the items.
        name: name of the rule, for `AppliedRule`.
    """

    filter: ItemFilter
    add: float = 0.0
    multiply: float = 1.0
    name: str = ""


@dataclass(frozen=True)
class Pin:
    """Puts one item at one position, from 1, whatever its score is.

    Attributes:
        item_id: the item.
        position: its position in the whole list, from 1.
        name: name of the rule, for `AppliedRule`.
    """

    item_id: str
    position: int
    name: str = ""


@dataclass(frozen=True)
class Cap:
    """Limits how many items with the same value of an attribute are close together.

    Attributes:
        attribute: name of the attribute, such as "genres"; `Model.attributes` lists them.
        max_count: most items with the same value in any `window` consecutive results.
        window: number of consecutive results; 0 for the whole list.
        name: name of the rule, for `AppliedRule`.
    """

    attribute: str
    max_count: int
    window: int = 0
    name: str = ""


@dataclass(frozen=True)
class Guarantee:
    """Reserves results for a group of items.

    Attributes:
        filter: the items of the group.
        window: number of consecutive results, the same in all guarantees of a rule set.
        min_count: fewest items of the group in any `window` consecutive results.
        min_share: the same as a share of `window`; give one of the two.
        name: name of the rule, for `AppliedRule`.
    """

    filter: ItemFilter
    window: int
    min_count: int | None = None
    min_share: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly one minimum is given."""
        if (self.min_count is None) == (self.min_share is None):
            raise ValueError("min_count and min_share: give one of them")


@dataclass(frozen=True)
class RuleSet:
    """Rules for a list. Pins come first, then guarantees, then caps, then the score with its boosts.

    Attributes:
        boosts: changes of scores.
        pins: items at fixed positions.
        caps: limits for attributes.
        guarantees: shares for groups.
    """

    boosts: tuple[Boost, ...] = ()
    pins: tuple[Pin, ...] = ()
    caps: tuple[Cap, ...] = ()
    guarantees: tuple[Guarantee, ...] = ()

    def __post_init__(self) -> None:
        """Raise TypeError for one rule in place of a list, and for a rule of another kind."""
        kinds: dict[str, type] = {"boosts": Boost, "pins": Pin, "caps": Cap, "guarantees": Guarantee}
        for field in fields(self):
            rules, kind = getattr(self, field.name), kinds[field.name]
            refuse_string(rules, field.name, f"{kind.__name__} objects")
            if isinstance(rules, Boost | Pin | Cap | Guarantee):
                raise TypeError(f"{field.name}: must be a list of {kind.__name__} objects; write [rule]")
            for index, rule in enumerate(rules):
                if not isinstance(rule, kind):
                    raise TypeError(f"{field.name}[{index}]: must be a {kind.__name__}, not {type(rule).__name__}")
