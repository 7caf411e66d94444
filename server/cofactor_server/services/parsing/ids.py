"""Look up the rows of user and item ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cofactor_server.arrays import IndexArray
from cofactor_server.errors import InvalidField, ItemNotFound, RequestError, UserNotFound
from cofactor_server.services.parsing.checks import check_length
from cofactor_server.serving.loaded_version import LoadedVersion


@dataclass(frozen=True, slots=True)
class IdField:
    """The field of a rating or an event that names what it is about: an item of a user, or a user of an item.

    Attributes:
        name: name of the field.
        noun: what the id is of, with its article.
        not_found: makes the error of an unknown id, from the id and the path of the field.
    """

    name: str
    noun: str
    not_found: Callable[[str, str], RequestError]


ITEM_ID = IdField("item_id", "an item", ItemNotFound)
USER_ID = IdField("user_id", "a user", partial(UserNotFound, advice="set skip_unknown_users to leave it out"))


def check_unknown(one_id: str, id_field: IdField, path: str, *, skip_unknown: bool) -> None:
    """Raise the error of an id that the model does not know, unless it is to be skipped; an empty one is refused."""
    if not one_id:
        raise InvalidField(f"{path}.{id_field.name}", f"is empty; name {id_field.noun}")
    if not skip_unknown:
        raise id_field.not_found(one_id, f"{path}.{id_field.name}")


@dataclass(frozen=True, slots=True, eq=False)
class ParsedPairs:
    """The user and item of every entry of Predict.

    Attributes:
        item_rows: (n,), -1 for an unknown item.
        user_rows: (n,), -1 for an unknown user; (0,) if the request has one user for all entries.
        errors: the error of every entry with an unknown id, by index, ascending; the user's if both are unknown.
    """

    item_rows: IndexArray
    user_rows: IndexArray
    errors: dict[int, RequestError]


class IdParser:
    """Look up ids, in lists of at most `max_items`."""

    def __init__(self, max_items: int) -> None:
        self.max_items = max_items

    def item_row(self, version: LoadedVersion, item_id: str, field: str) -> int:
        """Return the row of an item; raises InvalidField or ItemNotFound."""
        row = version.item_ids.row(item_id)
        if row is None:
            if not item_id:
                raise InvalidField(field, "is empty; name an item")
            raise ItemNotFound(item_id, field)
        return row

    def item_rows(self, version: LoadedVersion, item_ids: Sequence[str], field: str) -> IndexArray:
        """Return the rows (n,) of one or more items; raises InvalidField or ItemNotFound."""
        self._check_items(item_ids, field)
        rows, errors = _look_up(version.item_ids.row, item_ids, field, ItemNotFound)
        for error in errors.values():
            raise error
        return rows

    def known_item_rows(
        self,
        version: LoadedVersion,
        item_ids: Sequence[str],
        field: str,
        row_of: Callable[[str], int | None] | None = None,
    ) -> tuple[IndexArray, list[str]]:
        """Return the rows of the known items, ascending and unique, and the ids of the unknown; raises InvalidField.

        `row_of` returns the row of an id; by default, if the item is served.
        """
        check_length(item_ids, field, self.max_items)
        rows, errors = _look_up(row_of or version.item_ids.row, item_ids, field, ItemNotFound)
        missing_item_ids = list(dict.fromkeys(item_ids[index] for index in errors))
        return np.unique(rows[rows >= 0]), missing_item_ids

    def pairs(self, version: LoadedVersion, item_ids: Sequence[str], user_ids: Sequence[str]) -> ParsedPairs:
        """Return the rows of the entries of Predict, and the errors of those with unknown ids; raises InvalidField."""
        self._check_items(item_ids, "item_ids")
        item_rows, item_errors = _look_up(version.item_ids.row, item_ids, "item_ids", ItemNotFound)
        user_rows, user_errors = _look_up(version.user_ids.row, user_ids, "user_ids", UserNotFound)
        return ParsedPairs(item_rows, user_rows, dict(sorted({**item_errors, **user_errors}.items())))

    def _check_items(self, item_ids: Sequence[str], field: str) -> None:
        if not item_ids:
            raise InvalidField(field, "is empty; name at least one item")
        check_length(item_ids, field, self.max_items)


def _look_up(
    row_of: Callable[[str], int | None],
    ids: Iterable[str],
    field: str,
    not_found: type[UserNotFound] | type[ItemNotFound],
) -> tuple[IndexArray, dict[int, RequestError]]:
    """Return the rows (n,) of ids, -1 for an unknown one, and the errors of the unknown by index.

    Raises InvalidField for an empty id.
    """
    rows = list(map(row_of, ids))
    if None not in rows:
        return np.array(rows, dtype=np.int64), {}
    errors: dict[int, RequestError] = {}
    for index, (row, unknown_id) in enumerate(zip(rows, ids, strict=True)):
        if row is None:
            if not unknown_id:
                raise InvalidField(f"{field}[{index}]", "is empty; send an id")
            errors[index] = not_found(unknown_id, f"{field}[{index}]")
            rows[index] = -1
    return np.array(rows, dtype=np.int64), errors
