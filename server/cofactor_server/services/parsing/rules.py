"""Check rule sets, and turn them into the form that a version ranks with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from cofactor.v1.recommender_pb2 import ItemFilter, RuleSet
from cofactor_server.arrays import BoolArray
from cofactor_server.errors import InvalidField, quoted
from cofactor_server.ranking.catalogue import Catalogue
from cofactor_server.ranking.filters import ItemSelection
from cofactor_server.ranking.rules.attribute_values import values_of
from cofactor_server.ranking.rules.rule_set import Boost, Cap, Guarantee, Pin, Rules
from cofactor_server.services.parsing.checks import check_length, check_number
from cofactor_server.services.parsing.filters import FilterParser
from cofactor_server.serving.loaded_version import LoadedVersion

MOST_BOOSTS = 16
MOST_PINS = 100
MOST_CAPS = 8
MOST_GUARANTEES = 8
LONGEST_NAME = 64
LAST_POSITION = 10_000
LARGEST_CAP_WINDOW = 1000
LARGEST_GUARANTEE_WINDOW = 100
LARGEST_ADDITION = 100.0
LARGEST_FACTOR = 1e6
# A share such as 0.3 of 10 is a little more than 3 as a floating-point number.
_ROUNDING = 1e-9


class RuleParser:
    """Parse rule sets."""

    def __init__(self, filters: FilterParser) -> None:
        self._filters = filters

    def check(self, rules: RuleSet) -> None:
        """Raise InvalidField if a rule set is wrong for every version; the field is relative to the rule set."""
        _check_names("boosts", [rule.name for rule in rules.boosts], MOST_BOOSTS)
        _check_names("pins", [rule.name for rule in rules.pins], MOST_PINS)
        _check_names("caps", [rule.name for rule in rules.caps], MOST_CAPS)
        _check_names("guarantees", [rule.name for rule in rules.guarantees], MOST_GUARANTEES)
        for index, boost in enumerate(rules.boosts):
            with _within(f"boosts[{index}]"):
                self._check_filter(boost)
                _check_boost(boost)
        _check_pins(rules.pins)
        for index, cap in enumerate(rules.caps):
            with _within(f"caps[{index}]"):
                _check_cap(cap)
        for index, guarantee in enumerate(rules.guarantees):
            with _within(f"guarantees[{index}]"):
                self._check_filter(guarantee)
                _check_guarantee(guarantee)
        _check_guarantees_together(rules.guarantees)

    def parse(self, version: LoadedVersion, rules: RuleSet) -> Rules:
        """Return a rule set that was checked in the form that a version ranks with.

        Pins of unknown items are left out. Raises InvalidField for an attribute that the version does not have, and for
        a filter expression that does not fit its attributes; the field is relative to the rule set.
        """
        boosts = [
            Boost(boost.name or f"boosts[{index}]", self._members(version, boost, f"boosts[{index}]"), _change(boost))
            for index, boost in enumerate(rules.boosts)
        ]
        rows = [version.item_ids.row(pin.item_id) for pin in rules.pins]
        pins = [
            Pin(pin.name or f"pins[{index}]", row, pin.position)
            for index, (pin, row) in enumerate(zip(rules.pins, rows, strict=True))
            if row is not None
        ]
        unknown = tuple(pin.item_id for pin, row in zip(rules.pins, rows, strict=True) if row is None)
        caps = [_cap(version.catalogue, cap, f"caps[{index}]") for index, cap in enumerate(rules.caps)]
        guarantees = [
            Guarantee(
                guarantee.name or f"guarantees[{index}]",
                self._members(version, guarantee, f"guarantees[{index}]"),
                _min_count(guarantee),
                guarantee.window,
            )
            for index, guarantee in enumerate(rules.guarantees)
        ]
        share = version.filters.largest_allowed_share
        return Rules(version.catalogue.n_items, boosts, pins, caps, guarantees, unknown, share)

    def _check_filter(self, rule: RuleSet.Boost | RuleSet.Guarantee) -> None:
        if rule.filter == ItemFilter():
            raise InvalidField("filter", "is empty; say which items the rule is about")
        self._filters.check(rule.filter)

    def _members(self, version: LoadedVersion, rule: RuleSet.Boost | RuleSet.Guarantee, field: str) -> BoolArray:
        with _within(field):
            return _mask(self._filters.parse(version, rule.filter).selection, version.catalogue.n_items)


@contextmanager
def _within(field: str) -> Iterator[None]:
    """Put the name of a message before the fields that errors name."""
    try:
        yield
    except InvalidField as error:
        error.rename_field(f"{field}.{error.field}")
        raise


def _check_names(field: str, names: Sequence[str], most: int) -> None:
    check_length(names, field, most)
    for index, name in enumerate(names):
        size = len(name.encode())
        if size > LONGEST_NAME:
            raise InvalidField(f"{field}[{index}].name", f"has {size} bytes; use at most {LONGEST_NAME}")


def _check_boost(boost: RuleSet.Boost) -> None:
    check_number(boost.add, "add", -LARGEST_ADDITION, LARGEST_ADDITION)
    if boost.HasField("multiply"):
        check_number(boost.multiply, "multiply", 1 / LARGEST_FACTOR, LARGEST_FACTOR)


def _change(boost: RuleSet.Boost) -> float:
    """Return what a boost adds to the calibrated score; multiplying the odds adds to their logarithm."""
    factor: float = boost.multiply if boost.HasField("multiply") else 1.0
    return boost.add + math.log(factor)


def _check_pins(pins: Sequence[RuleSet.Pin]) -> None:
    positions: dict[int, int] = {}
    items: dict[str, int] = {}
    for index, pin in enumerate(pins):
        field = f"pins[{index}]"
        if not pin.item_id:
            raise InvalidField(f"{field}.item_id", "is empty; name an item")
        if not 1 <= pin.position <= LAST_POSITION:
            raise InvalidField(f"{field}.position", f"must be between 1 and {LAST_POSITION}, not {pin.position}")
        if pin.position in positions:
            other = f"pins[{positions[pin.position]}]"
            raise InvalidField(f"{field}.position", f"is {pin.position}, as in {other}; pin one item to each position")
        if pin.item_id in items:
            other = f"pins[{items[pin.item_id]}]"
            raise InvalidField(f"{field}.item_id", f"is {quoted(pin.item_id)}, as in {other}; pin each item once")
        positions[pin.position] = items[pin.item_id] = index


def _check_cap(cap: RuleSet.Cap) -> None:
    if not cap.attribute:
        raise InvalidField("attribute", 'is empty; name an attribute, such as "genres"')
    if not 1 <= cap.max_count <= LARGEST_CAP_WINDOW:
        raise InvalidField("max_count", f"must be between 1 and {LARGEST_CAP_WINDOW}, not {cap.max_count}")
    if cap.window and not cap.max_count < cap.window <= LARGEST_CAP_WINDOW:
        raise InvalidField(
            "window",
            f"must be 0 (the whole list), or more than max_count ({cap.max_count}) and at most {LARGEST_CAP_WINDOW}, "
            f"not {cap.window}",
        )


def _check_guarantee(guarantee: RuleSet.Guarantee) -> None:
    if not 1 <= guarantee.window <= LARGEST_GUARANTEE_WINDOW:
        raise InvalidField("window", f"must be between 1 and {LARGEST_GUARANTEE_WINDOW}, not {guarantee.window}")
    minimum = guarantee.WhichOneof("minimum")
    if minimum is None:
        raise InvalidField("min_count", "is not set, and neither is min_share; set one of them")
    if minimum == "min_share" and not 0 < guarantee.min_share <= 1:
        raise InvalidField("min_share", f"must be above 0 and at most 1, not {guarantee.min_share:g}")
    if minimum == "min_count" and not 1 <= guarantee.min_count <= guarantee.window:
        raise InvalidField("min_count", f"must be between 1 and window ({guarantee.window}), not {guarantee.min_count}")


def _check_guarantees_together(guarantees: Sequence[RuleSet.Guarantee]) -> None:
    if not guarantees:
        return
    window = guarantees[0].window
    for index, guarantee in enumerate(guarantees):
        if guarantee.window != window:
            raise InvalidField(
                f"guarantees[{index}].window",
                f"is {guarantee.window}, and that of guarantees[0] is {window}; give all guarantees the same window",
            )
    total = sum(map(_min_count, guarantees))
    if total > window:
        raise InvalidField("guarantees", f"ask for {total} of every {window} results together; lower their minimums")


def _min_count(guarantee: RuleSet.Guarantee) -> int:
    if guarantee.WhichOneof("minimum") == "min_count":
        return int(guarantee.min_count)
    return math.ceil(guarantee.min_share * guarantee.window - _ROUNDING)


def _cap(catalogue: Catalogue, cap: RuleSet.Cap, field: str) -> Cap:
    schema = catalogue.attributes.schema
    if cap.attribute not in schema:
        raise InvalidField(
            f"{field}.attribute",
            f"the model has no attribute {quoted(cap.attribute)}; use one of {', '.join(list(schema)[:20])}",
        )
    values = values_of(catalogue.attributes.column(cap.attribute))
    return Cap(cap.name or field, values, cap.max_count, cap.window)


def _mask(selection: ItemSelection, n_items: int) -> BoolArray:
    """Return (n_items,), True for the selected items."""
    mask = np.full(n_items, selection.allowed_rows is None)
    if selection.allowed_rows is not None:
        mask[selection.allowed_rows] = True
    mask[selection.excluded_rows] = False
    return mask
