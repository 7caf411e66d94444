"""Temporary folders that are removed once no process uses them, even after a crash.

Every process that uses such a folder locks a file in it. The kernel releases the lock when the process ends, even if it
is killed, and the next server removes every folder whose file is unlocked. Without this, a server that is killed again
and again for using too much memory would fill the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from cofactor_server.errors import ConfigurationError

LOCK = ".lock"
_PAUSE_S = 0.02


class LockedFolder:
    """New temporary folder, locked by this process and removed by close().

    If this process is killed, the next LockedFolder with the same parent and prefix removes the folder.
    """

    def __init__(self, parent: Path | None = None, prefix: str = "cofactor-") -> None:
        """Remove abandoned folders of this prefix from `parent`, then create a new one there.

        `parent` defaults to the system's folder for temporary files.
        """
        parent = parent or Path(tempfile.gettempdir())
        remove_abandoned_folders(parent, prefix)
        self.path = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        try:
            self._lock = os.open(self.path / f"{LOCK}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            self.path.rmdir()
            raise
        # A file system without locks raises OSError: the folder then has no lock file and is never taken for abandoned.
        with contextlib.suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            # Rename only after locking, so that other processes never see the lock file unlocked.
            (self.path / f"{LOCK}.new").rename(self.path / LOCK)

    def close(self) -> None:
        """Remove the folder if it still exists, and release the lock."""
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


def open_process_folder(copies: str) -> LockedFolder:
    """Return a new folder for this process, in `copies` or, if that is empty, among the temporary files.

    Raises ConfigurationError if no folder can be created there, as on a read-only file system.
    """
    parent = Path(copies) if copies else None
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        return LockedFolder(parent)
    except OSError as error:
        problem = f"cannot write to --copies {copies}" if copies else "there is no temporary folder that can be written"
        # The text for a missing temporary folder has no error number, only a list of folders.
        reason = f": {error.strerror}" if copies and error.strerror else ""
        raise ConfigurationError(f"{problem}{reason}; name a folder that can be written with --copies") from None


@contextlib.contextmanager
def lock_folder(folder: Path, seconds: float) -> Iterator[None]:
    """Hold the only lock on a folder that exists, without leaving a file in it.

    Waits at most `seconds` for another holder; then raises BlockingIOError. A file system without locks gives none.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + seconds
        while not _try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process is changing it")
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(lock)


def create_lock(folder: Path) -> int:
    """Lock a folder that no other process knows yet, so that others can share the lock later.

    Returns a file descriptor. The lock is held until the descriptor is closed or the process ends.
    """
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _try_lock(lock, fcntl.LOCK_SH)
    return lock


def share_lock(folder: Path) -> int:
    """Share the lock of another process's folder, so that the folder stays.

    Returns a file descriptor. The lock is held until the descriptor is closed or the process ends.
    Raises FileNotFoundError if the folder no longer exists, BlockingIOError while another process removes it.
    """
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not _try_lock(lock, fcntl.LOCK_SH):
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(folder))
        if not os.path.samestat(os.fstat(lock), (folder / LOCK).stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    except OSError:
        os.close(lock)
        raise
    return lock


def make_exclusive(lock: int) -> bool:
    """Turn a shared lock into an exclusive one; return False if another process shares it.

    After True, no other process can lock the folder until the descriptor is closed.
    """
    return _try_lock(lock, fcntl.LOCK_EX)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks cannot tell who holds one
        return True
    return True


def remove_abandoned_folders(parent: Path, prefix: str) -> None:
    """Remove this user's locked folders with this prefix that no process locks any more."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
