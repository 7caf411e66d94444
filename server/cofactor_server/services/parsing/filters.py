"""Parse the item filter of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cofactor.v1.recommender_pb2 import ItemFilter
from cofactor_server.arrays import NO_ROWS, IndexArray
from cofactor_server.errors import InvalidField
from cofactor_server.ranking.filters import ALL_ITEMS, NO_FILTER, AttributeFilter, ItemSelection
from cofactor_server.services.parsing.checks import check_length
from cofactor_server.services.parsing.ids import IdParser
from cofactor_server.serving.loaded_version import LoadedVersion

MOST_GENRES = 100


@dataclass(frozen=True, slots=True, eq=False)
class ParsedFilter:
    """The items that a request allows.

    Attributes:
        selection: the items that may be returned.
        missing_item_ids: candidates that the model does not know.
    """

    selection: ItemSelection
    missing_item_ids: Sequence[str] = ()


UNFILTERED = ParsedFilter(ALL_ITEMS)


class FilterParser:
    """Parse item filters."""

    def __init__(self, ids: IdParser) -> None:
        self._ids = ids

    def parse(self, version: LoadedVersion, item_filter: ItemFilter) -> ParsedFilter:
        """Select the items that pass a filter; raises InvalidField."""
        conditions = _conditions(item_filter)
        candidate_rows: IndexArray | None = None
        missing_item_ids: list[str] = []
        if item_filter.candidate_item_ids:
            candidate_rows, missing_item_ids = self._ids.known_item_rows(
                version, item_filter.candidate_item_ids, "filter.candidate_item_ids"
            )
        excluded_rows = NO_ROWS
        if item_filter.excluded_item_ids:
            excluded_rows, _ = self._ids.known_item_rows(
                version, item_filter.excluded_item_ids, "filter.excluded_item_ids"
            )
        return ParsedFilter(version.filters.select(conditions, candidate_rows, excluded_rows), missing_item_ids)


def _conditions(item_filter: ItemFilter) -> AttributeFilter:
    """Return the conditions on the items' attributes."""
    any_genres = _genres(item_filter.any_genres, "filter.any_genres")
    excluded_genres = _genres(item_filter.excluded_genres, "filter.excluded_genres")
    min_year = _year(item_filter, "min_release_year")
    max_year = _year(item_filter, "max_release_year")
    if min_year is not None and max_year is not None and min_year > max_year:
        raise InvalidField("filter.min_release_year", f"is {min_year}, after filter.max_release_year {max_year}")
    if item_filter.min_rating_count < 0:
        raise InvalidField("filter.min_rating_count", f"must be 0 or more, not {item_filter.min_rating_count}")
    conditions = AttributeFilter(
        any_genres, excluded_genres, min_year, max_year, item_filter.min_rating_count, item_filter.expression
    )
    return NO_FILTER if conditions.is_empty else conditions


def _genres(genres: Sequence[str], field: str) -> tuple[str, ...]:
    """Return the genres, sorted and unique."""
    check_length(genres, field, MOST_GENRES)
    if "" in genres:
        raise InvalidField(f"{field}[{list(genres).index('')}]", "is empty; name a genre")
    return tuple(sorted(set(genres)))


def _year(item_filter: ItemFilter, name: Literal["min_release_year", "max_release_year"]) -> int | None:
    """Return a year of the filter, None if it is not set."""
    if not item_filter.HasField(name):
        return None
    year: int = getattr(item_filter, name)
    if year < 1:
        raise InvalidField(f"filter.{name}", f"must be a year, at least 1, not {year}")
    return year
