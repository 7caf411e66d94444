"""A version directory while it is written: hidden, and there by one rename or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def version_draft(place: Path) -> Iterator[Path]:
    """Make an empty folder that becomes `place` when the block ends, or is gone where the block fails.

    No server takes it for a version, as its name begins with a dot. Nor is its name used twice: a process that is
    killed leaves its draft behind, and in a container the next one has the same process id. What is left there is not
    removed here, because another machine may be writing it.

    Raises:
        FileExistsError: `place` came to be in the meantime; versions are never changed.
    """
    draft = place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
    draft.mkdir(parents=True)
    try:
        yield draft
        _rename(draft, place)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_directory(place.parent)


def _rename(draft: Path, place: Path) -> None:
    try:
        draft.rename(place)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # which of the two depends on the file system
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from error
        raise


def sync_directory(path: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
