"""Find, read and publish the overlays of a version: <model>/overlays/<version>/<sequence>.binpb."""

from __future__ import annotations

import errno
import os
import re
import stat
import uuid
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Protocol

from cofactor_server.repository.locked_folder import lock_folder

FOLDER = "overlays"
SUFFIX = ".binpb"
_NAME = re.compile(r"([1-9][0-9]{0,17})" + re.escape(SUFFIX))
MOST_FILE_BYTES = 64 * 2**20
# Older files are removed when a new one is published. If the newest is damaged, servers read the one before it.
KEPT_FILES = 5
# How long a change waits for another one.
_LOCK_WAIT_S = 10.0

# Makes the next overlay from the numbers of those that there are: returns its number and its file's content.
Change = Callable[[Collection[int]], tuple[int, bytes]]


class OverlayFolders(Protocol):
    """The overlays of a repository. Every method raises OSError if the repository cannot be reached."""

    def list(self, name: str, version: str) -> dict[int, str]:
        """Return the number of every overlay of a version, and the state of its file, which changes with the file."""

    def read(self, name: str, version: str, sequence: int) -> bytes:
        """Return the content of the file of an overlay."""

    def update(self, name: str, version: str, change: Change) -> None:
        """Publish the overlay that `change` makes, and remove the oldest."""


class LocalOverlays:
    """Overlays in a local folder. Links are not followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _folder(self, name: str, version: str) -> Path:
        return self._root / name / FOLDER / version

    def list(self, name: str, version: str) -> dict[int, str]:
        """Return the number and the state of every overlay of a version."""
        folder = self._folder(name, version)
        states = {}
        try:
            if folder.is_symlink() or folder.parent.is_symlink():
                return {}
            with os.scandir(folder) as entries:
                for entry in entries:
                    match = _NAME.fullmatch(entry.name)
                    if match and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        states[int(match[1])] = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return states

    def read(self, name: str, version: str, sequence: int) -> bytes:
        """Return the content of the file of an overlay."""
        path = self._folder(name, version) / f"{sequence}{SUFFIX}"
        # O_NONBLOCK: opening a pipe must not wait until another process writes to it.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as opened:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_FILE_BYTES:
                raise OSError(errno.EFBIG, f"is not a plain file of at most {MOST_FILE_BYTES} bytes")
            return opened.read(MOST_FILE_BYTES)

    def update(self, name: str, version: str, change: Change) -> None:
        """Publish the next overlay by one rename, while this process holds a lock on the folder of the model."""
        folder = self._folder(name, version)
        with lock_folder(self._root / name, _LOCK_WAIT_S):
            before = self.list(name, version)
            sequence, content = change(before)
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / f"{sequence}{SUFFIX}", content)
            for old in _too_old(before):
                (folder / f"{old}{SUFFIX}").unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    # Processes in different containers have the same id, so only a random name is a name of one's own.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:  # "x" does not follow a link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _too_old(sequences: Collection[int]) -> list[int]:
    """Return those of the numbers before the newest that are no longer needed."""
    return sorted(sequences, reverse=True)[KEPT_FILES - 1 :]


class RemoteOverlayFiles(Protocol):
    """The methods of a remote source that overlays need."""

    def file_states(self, folder: PurePosixPath) -> dict[str, str]:
        """Return the name and the state of every file in a folder; raises FileNotFoundError if there is none."""

    def read_file(self, path: PurePosixPath) -> bytes:
        """Return the content of a file."""

    def write_file(self, path: PurePosixPath, content: bytes) -> None:
        """Write a file."""

    def remove_file(self, path: PurePosixPath) -> None:
        """Remove a file."""


class RemoteOverlays:
    """Overlays at an fsspec address. Object stores show a file only when it is complete."""

    def __init__(self, files: RemoteOverlayFiles, root: PurePosixPath) -> None:
        self._files = files
        self._root = root

    def _folder(self, name: str, version: str) -> PurePosixPath:
        return self._root / name / FOLDER / version

    def list(self, name: str, version: str) -> dict[int, str]:
        """Return the number and the state of every overlay of a version."""
        try:
            states = self._files.file_states(self._folder(name, version))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        matches = {_NAME.fullmatch(file): state for file, state in states.items()}
        return {int(match[1]): state for match, state in matches.items() if match}

    def read(self, name: str, version: str, sequence: int) -> bytes:
        """Return the content of the file of an overlay."""
        return self._files.read_file(self._folder(name, version) / f"{sequence}{SUFFIX}")

    def update(self, name: str, version: str, change: Change) -> None:
        """Publish the next overlay. Object stores have no locks: of two servers that do it at once, the later wins."""
        folder = self._folder(name, version)
        before = self.list(name, version)
        sequence, content = change(before)
        self._files.write_file(folder / f"{sequence}{SUFFIX}", content)
        for old in _too_old(before):
            self._files.remove_file(folder / f"{old}{SUFFIX}")
