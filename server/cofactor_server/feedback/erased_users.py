"""Keep erased users out of a feedback log (docs/erasure.md): remove their rows, and take no late ones."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Sequence

from cofactor.v1.erasure_pb2 import ErasureRecord
from cofactor_server.feedback.rows import EventRow
from cofactor_server.repository.erasure_records import ErasureKey

_LOGGER = logging.getLogger(__name__)
_TABLES = {"events": "time_us", "served_lists": "served_us"}


class ErasedUsers:
    """The erasures of a repository, by the hash of the user. Rows from before an erasure are not kept; later ones are.

    Looking up a user takes about 2.5 µs, for the hash.
    """

    def __init__(self, records: Sequence[ErasureRecord], key: ErasureKey) -> None:
        self._key = key
        self._records = records
        self._by_hash: dict[bytes, list[ErasureRecord]] = {}
        for record in records:
            self._by_hash.setdefault(bytes.fromhex(record.user_hash), []).append(record)

    def without_erased(self, rows: Sequence[EventRow]) -> list[EventRow]:
        """Return the events without those from before an erasure of their user."""
        return [row for row in rows if not self._is_erased(row)]

    def _is_erased(self, row: EventRow) -> bool:
        return any(
            record.model_name in ("", row.model) and row.time_us <= record.erase_time.ToMicroseconds()
            for record in self._by_hash.get(self._key.hash_user(row.user_id), ())
        )

    def remove_from(self, connection: sqlite3.Connection, known: Collection[str] | None) -> int:
        """Remove the rows of users with a new erasure; return how many. Reads the whole log if there is one.

        known: the record_ids that this process has applied before; None for those that the file says are applied.
        Another process that shares the file may have applied a record, and this one may have written rows since.

        Raises sqlite3.Error; nothing is removed then.
        """
        if known is None:
            known = {record_id for (record_id,) in connection.execute("SELECT record_id FROM applied_erasures")}
        new = {record.record_id for record in self._records} - set(known)
        if not new:
            return 0
        # Before the file is locked: other processes write meanwhile.
        users = connection.execute("SELECT user_id FROM events UNION SELECT user_id FROM served_lists")
        erased = [user_id for (user_id,) in users if self._key.hash_user(user_id) in self._by_hash]
        before = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")
        try:
            for user_id in erased:
                for record in self._by_hash[self._key.hash_user(user_id)]:
                    if record.record_id in new:
                        _remove(connection, user_id, record)
            n_removed = connection.total_changes - before
            connection.executemany("INSERT OR IGNORE INTO applied_erasures VALUES (?)", [(name,) for name in new])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        _empty_write_ahead_log(connection)
        _LOGGER.info("feedback log: %d rows removed by %d erasures", n_removed, len(new))
        return n_removed


def _remove(connection: sqlite3.Connection, user_id: str, record: ErasureRecord) -> None:
    for table, time_column in _TABLES.items():
        connection.execute(
            f"DELETE FROM {table} WHERE user_id = ? AND {time_column} <= ? AND ? IN ('', model)",  # noqa: S608 (fixed names)
            (user_id, record.erase_time.ToMicroseconds(), record.model_name),
        )


def _empty_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Take the rows out of the write-ahead log too; in the file, secure_delete has overwritten them."""
    try:
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        _LOGGER.warning("feedback log: the write-ahead log keeps removed rows until its next checkpoint: %s", error)
    else:
        if is_busy:
            _LOGGER.warning(
                "feedback log: a reader keeps removed rows in the write-ahead log until its next checkpoint"
            )
