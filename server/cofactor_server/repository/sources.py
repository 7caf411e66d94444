"""Model repositories: a local folder, or any address that fsspec supports (s3://, gs://, abfs://, memory://)."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from cofactor_server.errors import ConfigurationError
from cofactor_server.repository.erasure_records import is_record_id
from cofactor_server.repository.listing import (
    VERSION_NAME,
    IgnoredEntries,
    RepositoryListing,
    list_models,
)
from cofactor_server.repository.locked_folder import lock_folder
from cofactor_server.repository.overlays.folders import LocalOverlays, OverlayFolders, RemoteOverlays
from cofactor_server.repository.rule_sets import RULES
from cofactor_server.repository.serving_policy import PolicyError

POLICY = "serving.json"
# Hidden, so that no server takes the folder for a model.
ERASURES = ".erasures"
# How long a change of serving.json waits for another one.
_LOCK_WAIT_S = 10.0
_MAX_POLICY_BYTES = 2**20
# Metadata by which fsspec's file systems show that a file has changed; each file system has some of these.
_REMOTE_FILE_STATE = (
    *("ETag", "etag", "md5Hash", "content_md5", "sha", "checksum", "generation", "size"),
    *("LastModified", "last_modified", "modificationTime", "modify", "updated", "mtime", "created"),
)


class ModelSource(Protocol):
    """A model repository. Every method raises OSError if the repository cannot be reached."""

    @property
    def overlays(self) -> OverlayFolders:
        """Return the overlays of the versions."""

    def list_versions(self) -> RepositoryListing:
        """List the complete versions. One that cannot be read is listed as such and does not hide the others."""

    def read_policy(self, name: str) -> str | None:
        """Return the text of a model's serving.json, or None if it has none.

        Raises PolicyError if serving.json is not a plain file or is too large.
        """

    def read_rules(self, name: str) -> str | None:
        """Return the text of a model's rules.json, or None if it has none.

        Raises PolicyError if rules.json is not a plain file or is too large.
        """

    def write_policy(self, name: str, text: str) -> None:
        """Replace a model's serving.json atomically."""

    def update_policy(self, name: str, change: Callable[[str | None], str]) -> None:
        """Replace a model's serving.json by what `change` makes of its text (None: there is none).

        Nobody else who calls this method, also on another machine that shares the folder, changes the file in between.
        """

    def copy(self, name: str, version: str, target: Path) -> None:
        """Copy the files of a version into `target`, an empty folder."""

    def list_erasures(self) -> list[str]:
        """Return the ids of the erasures in the folder .erasures."""

    def read_erasure(self, record_id: str) -> str:
        """Return the text of an erasure."""

    def add_erasure(self, record_id: str, text: str) -> None:
        """Write an erasure, which nobody changes afterwards. Every erasure has a file, so that none is lost."""


class LocalSource:
    """Model repository in a local folder: <root>/<name>/<version>/.

    The root may be a symbolic link. Links below it are not followed, so that nobody who can write to the repository can
    make the server read other files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ignored = IgnoredEntries()
        self.overlays: OverlayFolders = LocalOverlays(root)

    def list_versions(self) -> RepositoryListing:
        """List the complete versions."""
        return list_models(self._root, self._folders, self._file_states)

    def _file_states(self, folder: Path) -> dict[str, str]:
        states = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    states[entry.name] = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        return states

    def _folders(self, parent: Path, name: re.Pattern[str]) -> list[Path]:
        folders = []
        with os.scandir(parent) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if self._ignored.has_name(entry.path, name):
                        folders.append(Path(entry.path))
                elif entry.is_symlink() and name.fullmatch(entry.name):
                    self._ignored.report(entry.path, "it is a link, and links in a repository are not followed")
        return sorted(folders)

    def read_policy(self, name: str) -> str | None:
        """Return the text of serving.json."""
        return self._read_text(name, POLICY)

    def read_rules(self, name: str) -> str | None:
        """Return the text of rules.json."""
        return self._read_text(name, RULES)

    def _read_text(self, name: str, file_name: str) -> str | None:
        try:
            with _open_plain_file(self._root / name / file_name) as file:
                raw = file.read(_MAX_POLICY_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(raw) > _MAX_POLICY_BYTES:
            raise PolicyError(f"{file_name} is longer than {_MAX_POLICY_BYTES} bytes; shorten it")
        return raw.decode("utf-8", errors="replace")

    def write_policy(self, name: str, text: str) -> None:
        """Replace serving.json."""
        self._replace(self._root / name / POLICY, text)

    def _replace(self, path: Path, text: str) -> None:
        # Processes in different containers have the same id, so only a random name is a name of one's own.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("x", encoding="utf-8") as file:  # "x" does not follow a link
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def update_policy(self, name: str, change: Callable[[str | None], str]) -> None:
        """Replace serving.json, while this process holds a lock on the folder of the model."""
        with lock_folder(self._root / name, _LOCK_WAIT_S):
            self.write_policy(name, change(self.read_policy(name)))

    def copy(self, name: str, version: str, target: Path) -> None:
        """Copy the plain files of a version; links and folders are left out."""
        with os.scandir(self._root / name / version) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    shutil.copyfile(entry.path, target / entry.name, follow_symlinks=False)

    def list_erasures(self) -> list[str]:
        """Return the ids of the erasures."""
        try:
            names = [path.name for path in (self._root / ERASURES).iterdir()]
        except FileNotFoundError:
            return []
        return _record_ids(names)

    def read_erasure(self, record_id: str) -> str:
        """Return the text of an erasure."""
        with _open_plain_file(self._root / ERASURES / f"{record_id}.json") as file:
            return file.read(_MAX_POLICY_BYTES).decode("utf-8", errors="replace")

    def add_erasure(self, record_id: str, text: str) -> None:
        """Write an erasure, and make its name durable."""
        folder = self._root / ERASURES
        folder.mkdir(exist_ok=True)
        self._replace(folder / f"{record_id}.json", text)
        for parent in (folder, self._root):
            entry = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(entry)
            finally:
                os.close(entry)


def _record_ids(names: Iterable[str]) -> list[str]:
    """Return the ids of the records among the names of files, ascending."""
    ids = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(record_id for record_id in ids if is_record_id(record_id))


def _open_plain_file(path: Path) -> BinaryIO:
    try:
        # O_NONBLOCK: opening a pipe must not wait until another process writes to it.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PolicyError(f"{path.name} is a link, and links are not followed; replace it with a file") from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise PolicyError(f"{path.name} is not a plain file; replace it with a file")
    return os.fdopen(file, "rb")


class RemoteFileSystem(Protocol):
    """The methods of fsspec's AbstractFileSystem that RemoteSource calls."""

    def invalidate_cache(self) -> None:
        """Forget cached listings."""

    def ls(self, path: str, *, detail: bool) -> Sequence[Mapping[str, Any]]:
        """List a folder; with `detail`, one dictionary for each entry."""

    def cat_file(self, path: str) -> bytes:
        """Return the content of a file."""

    def pipe_file(self, path: str, value: bytes) -> None:
        """Write a file."""

    def get_file(self, rpath: str, lpath: str) -> None:
        """Download a file."""

    def rm_file(self, path: str) -> None:
        """Remove a file."""

    def makedirs(self, path: str, exist_ok: bool) -> None:
        """Make a folder."""


class RemoteSource:
    """Model repository at an fsspec address.

    Publishers upload the manifest last, so a version that has one is complete.
    """

    def __init__(self, filesystem: RemoteFileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = PurePosixPath(root)
        self._ignored = IgnoredEntries()
        self.overlays: OverlayFolders = RemoteOverlays(self, self._root)

    def list_versions(self) -> RepositoryListing:
        """List the complete versions."""
        self._filesystem.invalidate_cache()
        return list_models(self._root, self._folders, lambda folder: dict(self._files(folder)))

    def file_states(self, folder: PurePosixPath) -> dict[str, str]:
        """Return the name and the state of every file in a folder, as it is now."""
        self._filesystem.invalidate_cache()
        return dict(self._files(folder))

    def read_file(self, path: PurePosixPath) -> bytes:
        """Return the content of a file."""
        return self._filesystem.cat_file(str(path))

    def write_file(self, path: PurePosixPath, content: bytes) -> None:
        """Write a file."""
        self._filesystem.pipe_file(str(path), content)

    def remove_file(self, path: PurePosixPath) -> None:
        """Remove a file."""
        self._filesystem.rm_file(str(path))

    def _files(self, folder: PurePosixPath) -> list[tuple[str, str]]:
        """Return the name and the state of every file in a folder."""
        files = []
        for entry in self._filesystem.ls(str(folder), detail=True):
            path = PurePosixPath(entry["name"])
            if entry["type"] == "file" and VERSION_NAME.fullmatch(path.name):
                files.append((path.name, "-".join(str(entry[key]) for key in _REMOTE_FILE_STATE if key in entry)))
        return files

    def _folders(self, parent: PurePosixPath, name: re.Pattern[str]) -> list[PurePosixPath]:
        entries = self._filesystem.ls(str(parent), detail=True)
        paths = (PurePosixPath(entry["name"]) for entry in entries if entry["type"] == "directory")
        return sorted(path for path in paths if self._ignored.has_name(str(path), name))

    def read_policy(self, name: str) -> str | None:
        """Return the text of serving.json."""
        return self._read_text(name, POLICY)

    def read_rules(self, name: str) -> str | None:
        """Return the text of rules.json."""
        return self._read_text(name, RULES)

    def _read_text(self, name: str, file_name: str) -> str | None:
        try:
            raw = self._filesystem.cat_file(str(self._root / name / file_name))
        except FileNotFoundError:
            return None
        return raw.decode("utf-8", errors="replace")

    def write_policy(self, name: str, text: str) -> None:
        """Replace serving.json."""
        self._filesystem.pipe_file(str(self._root / name / POLICY), text.encode())

    def update_policy(self, name: str, change: Callable[[str | None], str]) -> None:
        """Replace serving.json. Object stores have no locks: of two servers that do it at once, the later one wins."""
        self.write_policy(name, change(self.read_policy(name)))

    def copy(self, name: str, version: str, target: Path) -> None:
        """Download the files of a version."""
        folder = self._root / name / version
        for file, _ in self._files(folder):
            self._filesystem.get_file(str(folder / file), str(target / file))

    def list_erasures(self) -> list[str]:
        """Return the ids of the erasures."""
        try:
            entries = self._filesystem.ls(str(self._root / ERASURES), detail=True)
        except FileNotFoundError:
            return []
        return _record_ids(PurePosixPath(entry["name"]).name for entry in entries)

    def read_erasure(self, record_id: str) -> str:
        """Return the text of an erasure."""
        raw = self._filesystem.cat_file(str(self._root / ERASURES / f"{record_id}.json"))
        return raw.decode("utf-8", errors="replace")

    def add_erasure(self, record_id: str, text: str) -> None:
        """Write an erasure; a store that has real folders gets the folder first."""
        folder = self._root / ERASURES
        try:
            self._filesystem.pipe_file(str(folder / f"{record_id}.json"), text.encode())
        except FileNotFoundError:
            self._filesystem.makedirs(str(folder), exist_ok=True)
            self._filesystem.pipe_file(str(folder / f"{record_id}.json"), text.encode())


def open_source(address: str) -> ModelSource:
    """Open the model repository at a path or an fsspec address.

    Raises ConfigurationError if there is no such folder, if fsspec does not know the address, or if a package that the
    address needs is not installed.
    """
    if "://" not in address:
        root = Path(address)
        if not root.is_dir():
            raise ConfigurationError(
                f"--models: the folder {address} does not exist; name the folder that holds <name>/<version>/"
            )
        return LocalSource(root)
    try:
        import fsspec  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ConfigurationError(
            f"--models {address}: an address that is not a folder needs the extra cofactor[remote]; install it"
        ) from None
    try:
        filesystem, root_path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ConfigurationError(f"--models {address}: {error}") from None
    except ValueError as error:
        raise ConfigurationError(f"--models {address} is not an address that fsspec knows: {error}") from None
    return RemoteSource(filesystem, root_path)
