"""Check numbers and list lengths."""

from __future__ import annotations

from collections.abc import Sized

from cofactor_server.errors import InvalidField


def check_number(value: float, field: str, low: float, high: float) -> float:
    """Return `value` if it is between `low` and `high`; raises InvalidField otherwise."""
    if not low <= value <= high:  # also refuses NaN
        raise InvalidField(field, f"must be between {low:g} and {high:g}, not {value:g}")
    return value


def check_length(values: Sized, field: str, limit: int, unit: str = "entries") -> None:
    """Raise InvalidField if there are more than `limit` values."""
    if len(values) > limit:
        raise InvalidField(field, f"has {len(values)} {unit}; send at most {limit}")
