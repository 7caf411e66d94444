"""Write to the SQLite file of a feedback log, from one thread."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cofactor.v1.erasure_pb2 import ErasureRecord
from cofactor_server.feedback.database import open_to_write, primary_code
from cofactor_server.feedback.erased_users import ErasedUsers
from cofactor_server.feedback.rows import INSERT_EVENT, INSERT_LIST, EventRow
from cofactor_server.repository.erasure_records import ErasureStore

_LOGGER = logging.getLogger(__name__)
_ROWS_PER_REMOVAL = 5000
_DAY_S = 86_400
_REASONS = {
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_IOERR: "its disk cannot be written",
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_READONLY: "it is read-only",
}
T = TypeVar("T")


class StorageError(Exception):
    """The file cannot be written at the moment; nothing of what was asked for has been written."""


class Storage:
    """The file of a feedback log; FeedbackLog describes the arguments.

    The file is opened again after an error other than a full disk.
    """

    def __init__(self, path: Path, erasures: ErasureStore, retention_days: int) -> None:
        self._path = path
        self._erasures = erasures
        self._retention_days = retention_days
        self._connection: sqlite3.Connection | None = None
        self._erased: ErasedUsers | None = None
        self._applied: tuple[ErasureRecord, ...] | None = None
        try:
            self._connection = open_to_write(path)
        except sqlite3.Error as error:
            _LOGGER.error("the feedback log %s cannot be opened now, and refuses events until it can: %s", path, error)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def write(self, batches: Sequence[Sequence[EventRow]], lists: Sequence[tuple[object, ...]]) -> list[int]:
        """Write batches of events, and lists, in one commit; return how many events of each batch are new.

        Raises StorageError.
        """
        if self._erased is not None:
            batches = [self._erased.without_erased(batch) for batch in batches]

        def insert(connection: sqlite3.Connection) -> list[int]:
            counts = []
            for batch in batches:
                before = connection.total_changes
                connection.executemany(INSERT_EVENT, batch)
                counts.append(connection.total_changes - before)
            connection.executemany(INSERT_LIST, lists)
            return counts

        with self._opened() as connection:
            return _in_transaction(connection, insert)

    def apply_erasures(self) -> None:
        """Remove the rows of users who were erased since the last time. Raises StorageError."""
        records, key = self._erasures.records, self._erasures.key
        if records is self._applied or key is None:
            return
        # First take no more rows of these users, also if removing those that there are fails.
        self._erased = ErasedUsers(records, key)
        known = None if self._applied is None else {record.record_id for record in self._applied}
        with self._opened() as connection:
            self._erased.remove_from(connection, known)
        self._applied = records

    def prune(self) -> bool:
        """Remove some of the rows that are older than the retention; return True if there may be more."""
        if not self._retention_days:
            return False
        first_day = int(time.time()) // _DAY_S - self._retention_days + 1

        def remove(connection: sqlite3.Connection) -> bool:
            before = connection.total_changes
            old = (first_day, _ROWS_PER_REMOVAL)
            connection.execute(
                "DELETE FROM events WHERE (day, digest) IN (SELECT day, digest FROM events WHERE day < ? LIMIT ?)", old
            )
            connection.execute(
                "DELETE FROM served_lists WHERE rowid IN (SELECT rowid FROM served_lists WHERE day < ? LIMIT ?)", old
            )
            return connection.total_changes - before >= _ROWS_PER_REMOVAL

        with self._opened() as connection:
            return _in_transaction(connection, remove)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Return the connection, opened again if it was lost; turn the errors of the block into StorageError."""
        try:
            if self._connection is None:
                self._connection = open_to_write(self._path)
            yield self._connection
        except sqlite3.Error as error:
            code = primary_code(error)
            if code != sqlite3.SQLITE_FULL:
                self._reset()
            raise StorageError(_REASONS.get(code, str(error))) from error

    def _reset(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Do some work in a transaction that holds the file's write lock from the start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself after some errors
            connection.execute("ROLLBACK")
        raise
    return result
