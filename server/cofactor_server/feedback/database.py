"""Open the SQLite file of a feedback log: make it, or check that it is one that this release can write."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from cofactor_server.errors import ConfigurationError

APPLICATION_ID = 0x43464642  # "CFFB", in the header of the file
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
_NOT_A_DATABASE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_CANNOT_WRITE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_PRIMARY_CODE = 0xFF  # an extended error code has the kind of the error in its lowest byte

# The day leads both keys: retention and export go by days, and new rows land close to each other. `digest` tells events
# of a day apart. A table of events without a rowid is one B-tree; with an index beside it, it would be two.
_SCHEMA = (
    """CREATE TABLE events (
        day INTEGER NOT NULL,
        digest BLOB NOT NULL,
        model TEXT NOT NULL,
        user_id TEXT NOT NULL,
        item_id TEXT NOT NULL,
        event TEXT NOT NULL,
        count REAL NOT NULL,
        time_us INTEGER NOT NULL,
        received_us INTEGER NOT NULL,
        recommendation_id TEXT NOT NULL,
        PRIMARY KEY (day, digest)
    ) WITHOUT ROWID""",
    """CREATE TABLE served_lists (
        day INTEGER NOT NULL,
        recommendation_id TEXT NOT NULL,
        served_us INTEGER NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        user_id TEXT NOT NULL,
        policy TEXT NOT NULL,
        is_routed INTEGER NOT NULL,
        is_fallback INTEGER NOT NULL,
        first_rank INTEGER NOT NULL,
        item_ids TEXT NOT NULL,
        propensities TEXT
    )""",
    "CREATE INDEX served_lists_by_day ON served_lists (day)",
    "CREATE TABLE applied_erasures (record_id TEXT PRIMARY KEY) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def primary_code(error: sqlite3.Error) -> int:
    """Return the kind of an error, such as sqlite3.SQLITE_FULL."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & _PRIMARY_CODE


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open a feedback log for writing, and make it if it does not exist: only its owner may read it.

    Raises ConfigurationError if the file can never be written, and sqlite3.Error if it cannot at the moment, as on a
    full disk.
    """
    _make_file(path)
    connection = _connect(path)
    try:
        # WAL: readers and the one writer do not wait for each other. FULL: a commit is on the disk when it returns, so
        # that what was acknowledged survives a power cut too (https://www.sqlite.org/pragma.html#pragma_synchronous).
        _switch_to_wal(connection)
        for setting in ("synchronous = FULL", "secure_delete = ON", "cache_size = -65536", "wal_autocheckpoint = 4000"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
        connection.execute("BEGIN IMMEDIATE")  # fails on a file that is read-only
        if _is_empty(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
        _check_schema(connection, path)
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _refusal(error, path) from None
    except ConfigurationError:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a feedback log that exists, while servers may write to it. Raises ConfigurationError."""
    if not path.is_file():
        raise ConfigurationError(f"there is no feedback log {path}; a server with --feedback-log writes one")
    connection = _connect(path)
    try:
        connection.execute("PRAGMA query_only = ON")
        _check_schema(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigurationError(f"cannot read the feedback log {path}: {error}") from None
    except ConfigurationError:
        connection.close()
        raise
    return connection


def _make_file(path: Path) -> None:
    """Make an empty file that only its owner may read; SQLite gives its other files the same permissions."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise ConfigurationError(f"--feedback-log: {path} is not a file; name a file") from None
    except OSError as error:
        raise ConfigurationError(f"--feedback-log: cannot make {path}: {error.strerror}") from None


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file without making it; the writer's thread and close() use the connection, never at the same time."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    try:
        return sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise ConfigurationError(f"--feedback-log: cannot open {path}: {error}") from None


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Set the journal mode. SQLite does not wait if another process does the same at this moment, so try again."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _is_empty(connection: sqlite3.Connection) -> bool:
    (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not n_tables and not _pragma(connection, "application_id") and not _pragma(connection, "user_version")


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise ConfigurationError(f"--feedback-log: {path} is an SQLite file of another program; name another file")
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"--feedback-log: {path} has the schema version {version}, and this release knows {SCHEMA_VERSION}; use "
            "the release that wrote it, or name another file"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _refusal(error: sqlite3.DatabaseError, path: Path) -> Exception:
    code = primary_code(error)
    if code in _NOT_A_DATABASE:
        return ConfigurationError(f"--feedback-log: {path} is not an SQLite file, or is damaged; name another file")
    if code in _CANNOT_WRITE:
        return ConfigurationError(
            f"--feedback-log: {path} cannot be written ({error}); it and its folder must be writable"
        )
    return error
