"""Folders that are gone once no process needs them, however the processes ended.

Each holds a file that its processes keep locked. A process that is killed cannot remove its folder, but it loses the
lock: the next server removes what it finds unlocked. Otherwise a server that is killed for its memory again and again
would fill the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType

LOCK = ".lock"


class LockedFolder:
    """A new folder that is removed by close(), or by whoever makes the next one beside it after this process died."""

    def __init__(self, parent: Path | None = None, prefix: str = "cofactor-") -> None:
        """Make one in `parent`, by default where temporary files go; first remove the abandoned ones of this prefix."""
        beside = parent or Path(tempfile.gettempdir())
        remove_abandoned(beside, prefix)
        self.path = Path(tempfile.mkdtemp(dir=beside, prefix=prefix))
        try:
            self._lock = os.open(self.path / f"{LOCK}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            self.path.rmdir()
            raise
        with contextlib.suppress(OSError):  # a file system without locks: nobody can tell that the folder is abandoned
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            # Only now can others see the lock: at no time is it there and free.
            (self.path / f"{LOCK}.new").rename(self.path / LOCK)

    def close(self) -> None:
        """Remove the folder, if it is still there."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> LockedFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_folder(path: Path) -> int:
    """Hold a folder that nobody knows yet, for others to share; returns the descriptor that does until it is closed."""
    lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _try_lock(lock, fcntl.LOCK_SH)
    return lock


def share_folder(path: Path) -> int:
    """Keep another process's folder; returns the descriptor that does until it is closed, or this process ends.

    Raises FileNotFoundError where the folder is gone already, BlockingIOError while it is being removed.
    """
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not _try_lock(lock, fcntl.LOCK_SH):
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path))
        if not os.path.samestat(os.fstat(lock), (path / LOCK).stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except OSError:
        os.close(lock)
        raise
    return lock


def is_held_elsewhere(lock: int) -> bool:
    """Whether others hold the folder of this descriptor too; where not, nobody can begin to before it is closed."""
    return not _try_lock(lock, fcntl.LOCK_EX)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nobody can tell who holds what
        return True
    return True


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders of this user, prefix and kind that no process holds."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
