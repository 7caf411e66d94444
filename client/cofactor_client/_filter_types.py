"""Conditions on items, as callers pass them to the client."""

from __future__ import annotations

from dataclasses import dataclass


def refuse_string(values: object, name: str, kind: str = "strings") -> None:
    """Raise TypeError if one string is given where a list of strings is meant."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name}: must be a list of {kind}, not one string; write [{values[:64]!r}]")


@dataclass(frozen=True)
class ItemFilter:
    """Conditions on the items that may be returned. An item must meet all of them.

    Attributes:
        candidate_item_ids: only these items; empty for the whole catalogue.
        excluded_item_ids: none of these items.
        any_genres: items with at least one of these genres.
        excluded_genres: items with none of these genres.
        min_release_year: released in this year or later.
        max_release_year: released in this year or earlier.
        min_rating_count: rated at least this often in the training data.
        expression: items for which this is true, such as 'price < 50 AND brand in ["Acme", "Bolt"]'; `Model.attributes`
            lists the attributes, docs/filters.md describes the syntax.
    """

    candidate_item_ids: tuple[str, ...] = ()
    excluded_item_ids: tuple[str, ...] = ()
    any_genres: tuple[str, ...] = ()
    excluded_genres: tuple[str, ...] = ()
    min_release_year: int | None = None
    max_release_year: int | None = None
    min_rating_count: int = 0
    expression: str = ""

    def __post_init__(self) -> None:
        """Raise TypeError for a string in place of a list; it would be read as a list of its letters."""
        for name in ("candidate_item_ids", "excluded_item_ids", "any_genres", "excluded_genres"):
            refuse_string(getattr(self, name), name)
