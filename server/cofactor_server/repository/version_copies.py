"""Private copies of versions: what is loaded from them does not change, whatever a publisher does."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path

from cofactor_server.repository.locked_folder import LOCK, LockedFolder, is_held_elsewhere, lock_folder, share_folder
from cofactor_server.repository.sources import STAMP_LENGTH

_DRAFT = ".copying-"
_STALE_S = 3600.0
# Between two looks at a copy that another process is moving out of the way.
_PAUSE_S = 0.02
_MOST_PAUSES = 100


class VersionCopies:
    """Copies `<folder>/<stamp>/<name>/<version>`, complete from the moment they are there.

    Worker processes share them, and with them the pages of the mapped tables. Each keeps those locked that it loads or
    has loaded; the last one to let a copy go removes it. Not safe for threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, int] = {}

    def hold(self, name: str, version: str, stamp: str, fill: Callable[[Path], None]) -> tuple[Path, bool]:
        """The copy with this stamp, to be let go by one of the methods below, and whether it was made just now.

        `fill` copies the version's files into an empty folder. Raises OSError where that is not possible now.
        """
        home = self._folder / stamp
        for _ in range(_MOST_PAUSES):
            try:
                lock, is_new = share_folder(home), False
            except BlockingIOError:
                time.sleep(_PAUSE_S)
                continue
            except FileNotFoundError:
                made = self._make(home, Path(name, version), fill)
                if made is None:
                    continue
                lock, is_new = made, True
            self._locks[stamp] = lock
            return home / name / version, is_new
        raise OSError(errno.EBUSY, "another process does not finish removing an old copy")

    def _make(self, home: Path, version: Path, fill: Callable[[Path], None]) -> int | None:
        """Its lock; None where another process made it first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with LockedFolder(self._folder, _DRAFT) as draft:
            fresh = draft.path / "version"
            (fresh / version).mkdir(parents=True)
            fill(fresh / version)
            lock = lock_folder(fresh)
            try:
                fresh.rename(home)
            except OSError as error:
                os.close(lock)
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not (home / LOCK).exists():  # its lock was lost, and nobody can share it
                    shutil.rmtree(home, ignore_errors=True)
                return None
        return lock

    def release(self, stamp: str) -> None:
        """Let a copy go: it is removed unless another process holds it."""
        lock = self._locks.pop(stamp)
        if not is_held_elsewhere(lock):
            self._remove(stamp, lock)
        os.close(lock)

    def discard(self, stamp: str) -> None:
        """Remove a copy that is damaged, whoever else holds it: what is mapped outlives the files."""
        lock = self._locks.pop(stamp)
        self._remove(stamp, lock)
        os.close(lock)

    def keep(self, stamps: Collection[str]) -> None:
        """Release every other copy."""
        for stamp in self._locks.keys() - stamps:
            self.release(stamp)

    def close(self) -> None:
        """Let every copy go, and remove none."""
        while self._locks:
            os.close(self._locks.popitem()[1])

    def remove_stale(self) -> None:
        """Remove copies that no process holds, left by one that was killed; not those of the last hour.

        A server that starts again in that time may use them.
        """
        for home in self._folder.glob("[0-9a-f]" * STAMP_LENGTH):
            with contextlib.suppress(OSError):
                if home.name not in self._locks and time.time() - home.stat().st_mtime > _STALE_S:
                    self._remove_unheld(home)

    def _remove_unheld(self, home: Path) -> None:
        try:
            self._locks[home.name] = share_folder(home)
        except FileNotFoundError:
            shutil.rmtree(home, ignore_errors=True)
        else:
            self.release(home.name)

    def _remove(self, stamp: str, lock: int) -> None:
        home = self._folder / stamp
        # In one step, so that nobody finds a part; a name that the next draft's maker clears away where this one dies.
        gone = self._folder / f"{_DRAFT}{stamp}-{os.getpid()}"
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(lock), (home / LOCK).stat()):
                home.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
