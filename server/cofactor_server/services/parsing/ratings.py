"""Parse the ratings of a new user or item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cofactor.v1.recommender_pb2 import ItemRating, Rating
from cofactor_server.arrays import FloatArray, IndexArray, no_rows
from cofactor_server.errors import InvalidField, quoted
from cofactor_server.repository.id_index import IdIndex
from cofactor_server.services.parsing.checks import check_number
from cofactor_server.services.parsing.ids import ITEM_ID, IdField, check_unknown


@dataclass(frozen=True, slots=True, eq=False)
class ParsedRatings:
    """The ratings of a new user, or those of a new item, in which users take the place of the items.

    Attributes:
        rows: (n,) rows of the items, ascending and unique.
        ratings: (n,).
        missing_ids: items that the model does not know.
    """

    rows: IndexArray = field(default_factory=no_rows)
    ratings: FloatArray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    missing_ids: Sequence[str] = ()


def parse_ratings(
    ids: IdIndex,
    ratings: Sequence[Rating | ItemRating],
    scale: tuple[float, float],
    path: str,
    *,
    skip_unknown: bool,
    id_field: IdField = ITEM_ID,
) -> ParsedRatings:
    """Parse the ratings of items, or of what else `id_field` names; `path` is that of the list, for errors.

    With `skip_unknown` ratings of unknown items are skipped. Raises InvalidField, or the error of `id_field`.
    """
    first_index = _index_ratings(ratings, scale, path, id_field)
    pairs: list[tuple[int, float]] = []
    missing_ids: list[str] = []
    for one_id, index in first_index.items():
        row = ids.evidence_row(one_id)
        if row is not None:
            pairs.append((row, ratings[index].rating))
            continue
        check_unknown(one_id, id_field, f"{path}[{index}]", skip_unknown=skip_unknown)
        missing_ids.append(one_id)
    pairs.sort()
    rows = np.array([row for row, _ in pairs], dtype=np.int64)
    return ParsedRatings(rows, np.array([rating for _, rating in pairs], dtype=np.float32), missing_ids)


def _index_ratings(
    ratings: Sequence[Rating | ItemRating], scale: tuple[float, float], path: str, id_field: IdField
) -> dict[str, int]:
    """Return the first index of every rated item.

    Raises InvalidField for an empty id, a rating off the model's scale, or an item with two different ratings.
    """
    first_index: dict[str, int] = {}
    for index, rating in enumerate(ratings):
        one_id: str = getattr(rating, id_field.name)
        if not one_id:
            raise InvalidField(f"{path}[{index}].{id_field.name}", f"is empty; name {id_field.noun}")
        check_number(rating.rating, f"{path}[{index}].rating", *scale)
        first = first_index.setdefault(one_id, index)
        if ratings[first].rating != rating.rating:
            same = id_field.noun.partition(" ")[2]
            raise InvalidField(
                f"{path}[{index}].rating",
                f"differs from {path}[{first}] for the same {same} {quoted(one_id)}; send one rating of it",
            )
    return first_index
