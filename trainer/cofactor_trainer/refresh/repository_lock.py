"""Let one update of a model run at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cofactor_trainer.errors import InputError

LOCK_FILE = ".update.lock"


class LockedError(InputError):
    """Another update of the model is running."""


@contextmanager
def only_update(model_dir: Path) -> Iterator[None]:
    """Hold the lock of a model's updates in the block. The kernel releases it when the process ends, however it ends.

    Raises:
        LockedError: another process holds it.
        InputError: the folder cannot be written, or its file system has no locks.
    """
    path = model_dir / LOCK_FILE
    try:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise InputError(f"the repository cannot be written ({error.strerror}): check --repository", path) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise LockedError("another update of this model is running: let it end", path) from None
            raise InputError(
                f"the file system has no locks ({error.strerror}): keep the repository on one that has, so that two "
                "updates cannot run at once",
                path,
            ) from None
        yield
    finally:
        os.close(lock)
