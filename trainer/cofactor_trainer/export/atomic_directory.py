"""Create a directory atomically: it appears complete, by one rename, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def create_directory_atomically(target: Path) -> Iterator[Path]:
    """Yield an empty temporary directory that is renamed to `target` when the block ends, or deleted if it fails.

    The temporary name begins with a dot, so no server takes the directory for a version. The name is unique, because a
    killed process leaves its directory behind, and in a container the next process has the same id. Directories that
    were left behind are not removed here: another machine may still be writing one.

    Raises:
        FileExistsError: `target` was created in the meantime; versions are never changed.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(target.parent)


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # which of the two depends on the file system
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise


def replace_text(path: Path, text: str) -> None:
    """Write a text file atomically: an interrupted process, or a power cut, leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write_synced(temporary, text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_synced(path: Path, content: str) -> None:
    """Write a text file as it is, and flush it to disk."""
    with path.open("w", encoding="utf-8", newline="") as text:
        text.write(content)
        text.flush()
        os.fsync(text.fileno())


def sync_directory(path: Path) -> None:
    """Flush the entries of a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
