"""The file of the feedback log: who may read it, and which files are refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from cofactor_server.errors import ConfigurationError
from tests.support.feedback import event, request


def test_only_the_owner_may_read_the_files(serve_log, log_file) -> None:
    before = os.umask(0)
    try:
        api = serve_log()
    finally:
        os.umask(before)
    api.feedback.RecordEvents(request([event()]), timeout=30)
    files = sorted(log_file.parent.glob("feedback.sqlite*"))
    assert [file.name for file in files] == ["feedback.sqlite", "feedback.sqlite-shm", "feedback.sqlite-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_file_of_another_schema_version_is_refused(serve_log, log_file) -> None:
    serve_log().server.stop()
    with closing(sqlite3.connect(log_file)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigurationError, match="schema version 2, and this release knows 1; use the release"):
        serve_log()


def test_a_file_of_another_program_is_refused_and_left_as_it_is(serve_log, log_file) -> None:
    with closing(sqlite3.connect(log_file)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(ConfigurationError, match="an SQLite file of another program; name another file"):
        serve_log()
    with closing(sqlite3.connect(log_file)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_file_that_is_no_database_is_refused(serve_log, log_file) -> None:
    log_file.write_bytes(b"user,item\n" * 1000)
    with pytest.raises(ConfigurationError, match="is not an SQLite file, or is damaged"):
        serve_log()
    assert log_file.read_bytes() == b"user,item\n" * 1000


def test_a_folder_and_a_file_in_a_missing_folder_are_refused(serve_log, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="is not a file; name a file"):
        serve_log(feedback_log=str(tmp_path))
    with pytest.raises(ConfigurationError, match="missing/log: No such file or directory"):
        serve_log(feedback_log=str(tmp_path / "missing" / "log"))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become a user who may not write")
def test_a_file_that_may_not_be_written_is_refused(serve_log, log_file) -> None:
    serve_log().server.stop()
    log_file.chmod(0o444)
    for folder in log_file.parents:
        if folder.stat().st_uid == 0 and folder.stat().st_mode & 0o5 != 0o5:
            folder.chmod(0o755)
    code = (
        "import os, pathlib, sys\n"
        "from cofactor_server.feedback.database import open_to_write\n"
        "os.setuid(65534)\n"
        "open_to_write(pathlib.Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, log_file], check=False, capture_output=True, text=True)
    assert "ConfigurationError: --feedback-log:" in done.stderr
    assert "must be writable" in done.stderr
