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

_LOCK = ".lock"


class PrivateFolder:
    """A new folder that is removed by close(), or by whoever makes the next one beside it after this process died."""

    def __init__(self, parent: Path | None = None, prefix: str = "cofactor-") -> None:
        """Make one in `parent`, by default where temporary files go; first remove the abandoned ones of this prefix."""
        beside = parent or Path(tempfile.gettempdir())
        remove_abandoned(beside, prefix)
        self.path = Path(tempfile.mkdtemp(dir=beside, prefix=prefix))
        try:
            self._lock = os.open(self.path / f"{_LOCK}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            self.path.rmdir()
            raise
        with contextlib.suppress(OSError):  # a file system without locks: nobody can tell that the folder is abandoned
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            # Only now can others see the lock: at no time is it there and free.
            (self.path / f"{_LOCK}.new").rename(self.path / _LOCK)

    def close(self) -> None:
        """Remove the folder, if it is still there."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> PrivateFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def share_folder(path: Path) -> int:
    """Keep another process's folder for as long as this process lives; returns the descriptor that does.

    Raises OSError where the folder is gone already.
    """
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    if os.fstat(lock).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return lock


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
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
