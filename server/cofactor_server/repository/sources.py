"""Model repositories: a local folder, or any address that fsspec supports (s3://, gs://, abfs://, memory://)."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeAlias

from cofactor_server.errors import ConfigurationError
from cofactor_server.repository.serving_policy import PolicyError

_LOGGER = logging.getLogger(__name__)

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MANIFEST = "manifest.json"
POLICY = "serving.json"
STAMP_LENGTH = 32
_MAX_POLICY_BYTES = 2**20
# Metadata by which fsspec's file systems show that a file has changed; each file system has some of these.
_REMOTE_FILE_STATE = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created", "size")

# Model name -> version -> stamp. A stamp is a digest of the version's place and the state of its files: no two versions
# share one, and it changes when any of the files changes.
RepositoryListing: TypeAlias = dict[str, dict[str, str]]


class ModelSource(Protocol):
    """A model repository. Every method raises OSError if the repository cannot be reached."""

    def list_versions(self) -> RepositoryListing:
        """List the complete versions, that is, those with a manifest."""

    def read_policy(self, name: str) -> str | None:
        """Return the text of a model's serving.json, or None if it has none.

        Raises PolicyError if serving.json is not a plain file or is too large.
        """

    def write_policy(self, name: str, text: str) -> None:
        """Replace a model's serving.json atomically."""

    def copy(self, name: str, version: str, target: Path) -> None:
        """Copy the files of a version into `target`, an empty folder."""


class LocalSource:
    """Model repository in a local folder: <root>/<name>/<version>/.

    The root may be a symbolic link. Links below it are not followed, so that nobody who can write to the repository can
    make the server read other files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._reported_links: set[str] = set()

    def list_versions(self) -> RepositoryListing:
        """List the complete versions."""
        listing: RepositoryListing = {}
        for model in self._folders(self._root, MODEL_NAME):
            versions = listing[model.name] = {}
            for version in self._folders(model, VERSION_NAME):
                file_states = self._file_states(version)
                if MANIFEST in file_states:
                    versions[version.name] = _stamp(version, file_states)
        return listing

    @staticmethod
    def _file_states(folder: Path) -> dict[str, str]:
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
                if not name.fullmatch(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_symlink() and entry.path not in self._reported_links:
                    self._reported_links.add(entry.path)
                    _LOGGER.warning("ignoring %s: it is a link, and links in a repository are not followed", entry.path)
        return sorted(folders)

    def read_policy(self, name: str) -> str | None:
        """Return the text of serving.json."""
        try:
            with _open_plain_file(self._root / name / POLICY) as file:
                raw = file.read(_MAX_POLICY_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(raw) > _MAX_POLICY_BYTES:
            raise PolicyError(f"{POLICY} is longer than {_MAX_POLICY_BYTES} bytes; shorten it")
        return raw.decode("utf-8", errors="replace")

    def write_policy(self, name: str, text: str) -> None:
        """Replace serving.json."""
        path = self._root / name / POLICY
        temporary = path.with_name(f".{POLICY}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8") as file:  # "x" does not follow a link
            file.write(text)
        temporary.replace(path)

    def copy(self, name: str, version: str, target: Path) -> None:
        """Copy the plain files of a version; links and folders are left out."""
        with os.scandir(self._root / name / version) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    shutil.copyfile(entry.path, target / entry.name, follow_symlinks=False)


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


class RemoteSource:
    """Model repository at an fsspec address.

    Publishers upload the manifest last, so a version that has one is complete.
    """

    def __init__(self, filesystem: RemoteFileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = PurePosixPath(root)

    def list_versions(self) -> RepositoryListing:
        """List the complete versions."""
        self._filesystem.invalidate_cache()
        listing: RepositoryListing = {}
        for model in self._folders(self._root, MODEL_NAME):
            versions = listing[model.name] = {}
            for version in self._folders(model, VERSION_NAME):
                file_states = {path.name: state for path, state in self._files(version)}
                if MANIFEST in file_states:
                    versions[version.name] = _stamp(version, file_states)
        return listing

    def _files(self, folder: PurePosixPath) -> list[tuple[PurePosixPath, str]]:
        files = []
        for entry in self._filesystem.ls(str(folder), detail=True):
            path = PurePosixPath(entry["name"])
            if entry["type"] == "file" and VERSION_NAME.fullmatch(path.name):
                files.append((path, "-".join(str(entry[key]) for key in _REMOTE_FILE_STATE if key in entry)))
        return files

    def _folders(self, parent: PurePosixPath, name: re.Pattern[str]) -> list[PurePosixPath]:
        entries = self._filesystem.ls(str(parent), detail=True)
        paths = (PurePosixPath(entry["name"]) for entry in entries if entry["type"] == "directory")
        return sorted(path for path in paths if name.fullmatch(path.name))

    def read_policy(self, name: str) -> str | None:
        """Return the text of serving.json."""
        try:
            raw = self._filesystem.cat_file(str(self._root / name / POLICY))
        except FileNotFoundError:
            return None
        return raw.decode("utf-8", errors="replace")

    def write_policy(self, name: str, text: str) -> None:
        """Replace serving.json."""
        self._filesystem.pipe_file(str(self._root / name / POLICY), text.encode())

    def copy(self, name: str, version: str, target: Path) -> None:
        """Download the files of a version."""
        for path, _ in self._files(self._root / name / version):
            self._filesystem.get_file(str(path), str(target / path.name))


def _stamp(folder: PurePath, file_states: dict[str, str]) -> str:
    return hashlib.sha256(repr((str(folder), sorted(file_states.items()))).encode()).hexdigest()[:STAMP_LENGTH]


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
