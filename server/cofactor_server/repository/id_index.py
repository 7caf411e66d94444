"""Ids of users or items and their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cofactor_server.repository.string_table import StringTable


class IdIndex:
    """Maps ids to rows and back.

    An unknown id has no row; the caller decides what to do about it. Raises ValueError if an id is empty or repeated.

    Attributes:
        ids: the id of each row; empty for one that was forgotten.
        row: function that returns the row of an id, or None for an unknown id.
        evidence_row: the same for what a user has rated, which may be an item that is not served any more.
    """

    def __init__(self, table: StringTable) -> None:
        self._own_ids = table.strings()
        self.ids: Sequence[str] = self._own_ids
        self._rows: dict[str, int] = dict(zip(self.ids, range(len(self.ids)), strict=True))
        self.row: Callable[[str], int | None] = self._rows.get
        self.evidence_row: Callable[[str], int | None] = self._rows.get
        if len(self._rows) != len(self.ids) or "" in self._rows:
            raise ValueError("ids are repeated or empty")

    def forget(self, row: int) -> bool:
        """Make the id of a row unknown; return False if it was forgotten before. Other threads may look ids up."""
        user_id, self._own_ids[row] = self._own_ids[row], ""
        return self._rows.pop(user_id, None) is not None

    def __len__(self) -> int:
        return len(self.ids)
