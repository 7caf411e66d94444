"""Private copies of versions: a version is loaded from a copy that no publisher can change."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from cofactor_server.repository.listing import STAMP_LENGTH
from cofactor_server.repository.locked_folder import LOCK, LockedFolder, create_lock, make_exclusive, share_lock

# Prefix of folders that are incomplete: being filled or being removed.
_INCOMPLETE = ".copying-"
_STALE_S = 3600.0
# Time between two attempts to share a copy that another process is removing, and the most attempts.
_PAUSE_S = 0.02
_MAX_ATTEMPTS = 100


class VersionCopies:
    """Copies of versions at `<folder>/<stamp>/<name>/<version>`, each complete from the moment it exists.

    Worker processes share the copies, and so the memory pages of the mapped tables. Each process locks the copies that
    it loads or has loaded; the last process to release a copy removes it. Not thread-safe.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, int] = {}

    def acquire(self, name: str, version: str, stamp: str, fill: Callable[[Path], None]) -> tuple[Path, bool]:
        """Lock the copy with this stamp, making it if it does not exist.

        Returns the version directory in the copy, and True if this call made the copy. The copy stays locked until one
        of the methods below releases it. `fill` copies the files of the version into an empty folder.
        Raises OSError if the copy cannot be made now.
        """
        home = self._folder / stamp
        for _ in range(_MAX_ATTEMPTS):
            try:
                lock, is_new = share_lock(home), False
            except BlockingIOError:
                time.sleep(_PAUSE_S)
                continue
            except FileNotFoundError:
                new_lock = self._make(home, Path(name, version), fill)
                if new_lock is None:
                    continue
                lock, is_new = new_lock, True
            self._locks[stamp] = lock
            return home / name / version, is_new
        raise OSError(errno.EBUSY, "another process does not finish removing an old copy")

    def _make(self, home: Path, version: Path, fill: Callable[[Path], None]) -> int | None:
        """Make a copy and return its lock, or None if another process made the copy first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with LockedFolder(self._folder, _INCOMPLETE) as temporary:
            copy = temporary.path / "version"
            (copy / version).mkdir(parents=True)
            fill(copy / version)
            lock = create_lock(copy)
            try:
                copy.rename(home)
            except OSError as error:
                os.close(lock)
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not (home / LOCK).exists():  # a copy without its lock file cannot be shared
                    shutil.rmtree(home, ignore_errors=True)
                return None
        return lock

    def release(self, stamp: str) -> None:
        """Unlock a copy, and remove it if no other process uses it."""
        lock = self._locks.pop(stamp)
        if make_exclusive(lock):
            self._remove(stamp, lock)
        os.close(lock)

    def discard(self, stamp: str) -> None:
        """Unlock and remove a damaged copy, even if other processes use it: their mapped files stay readable."""
        lock = self._locks.pop(stamp)
        self._remove(stamp, lock)
        os.close(lock)

    def release_all_except(self, stamps: Collection[str]) -> None:
        """Release every copy whose stamp is not among `stamps`."""
        for stamp in self._locks.keys() - stamps:
            self.release(stamp)

    def close(self) -> None:
        """Unlock every copy without removing any."""
        while self._locks:
            os.close(self._locks.popitem()[1])

    def remove_stale(self) -> None:
        """Remove copies that no process uses and that are more than an hour old, such as those of a killed server.

        Younger ones are left for a server that starts again.
        """
        for home in self._folder.glob("[0-9a-f]" * STAMP_LENGTH):
            with contextlib.suppress(OSError):
                if home.name not in self._locks and time.time() - home.stat().st_mtime > _STALE_S:
                    self._remove_if_unused(home)

    def _remove_if_unused(self, home: Path) -> None:
        try:
            self._locks[home.name] = share_lock(home)
        except FileNotFoundError:
            shutil.rmtree(home, ignore_errors=True)
        else:
            self.release(home.name)

    def _remove(self, stamp: str, lock: int) -> None:
        home = self._folder / stamp
        # Rename first, so that no process finds a half-removed copy. If this process dies while it removes the files,
        # the prefix makes the next LockedFolder clean them up.
        removed = self._folder / f"{_INCOMPLETE}{stamp}-{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(lock), (home / LOCK).stat()):
                home.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)
