"""Where versions come from: a local folder, or any address that fsspec knows (s3://, gs://, abfs://, memory://)."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, Protocol

from cofactor_server.errors import ConfigurationError
from cofactor_server.repository.serving_policy import PolicyError

_log = logging.getLogger(__name__)

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MANIFEST = "manifest.json"
POLICY = "serving.json"
STAMP_LENGTH = 32
_LONGEST_POLICY = 2**20
# How the file systems of fsspec say that a file has changed; each has some of these.
_REMOTE_MARKS = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created", "size")


@dataclass(frozen=True)
class Listing:
    """What a repository holds.

    models: name -> version -> stamp of its files, which no other version has and which changes when any of them does.
    """

    models: dict[str, dict[str, str]]


class ModelSource(Protocol):
    """A repository of versions. Every method raises OSError where the repository cannot be reached."""

    def scan(self) -> Listing:
        """List the complete versions: those that have a manifest."""

    def read_policy(self, name: str) -> str | None:
        """Return the text of a model's serving.json, or None where it has none.

        Raises PolicyError where what is there is not read.
        """

    def write_policy(self, name: str, text: str) -> None:
        """Replace a model's serving.json in one step."""

    def copy(self, name: str, version: str, target: Path) -> None:
        """Copy a version's files into `target`, an empty folder."""


class LocalSource:
    """Versions in a folder: <root>/<name>/<version>/.

    The root may be a link, nothing below it: whoever can write to a repository must not have other files read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._links: set[str] = set()  # that the log has told of

    def scan(self) -> Listing:
        """List the complete versions."""
        models = {}
        for model in self._folders(self._root, MODEL_NAME):
            versions = {}
            for version in self._folders(model, VERSION_NAME):
                marks = self._marks(version)
                if MANIFEST in marks:
                    versions[version.name] = _stamp(version, marks)
            models[model.name] = versions
        return Listing(models)

    @staticmethod
    def _marks(folder: Path) -> dict[str, str]:
        marks = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    marks[entry.name] = f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
        return marks

    def _folders(self, parent: Path, name: re.Pattern[str]) -> list[Path]:
        found = []
        with os.scandir(parent) as entries:
            for entry in entries:
                if not name.fullmatch(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append(Path(entry.path))
                elif entry.is_symlink() and entry.path not in self._links:
                    self._links.add(entry.path)
                    _log.warning("%s is a link, and links in a repository are not followed", entry.path)
        return sorted(found)

    def read_policy(self, name: str) -> str | None:
        """Return the text of serving.json."""
        try:
            with _open_plain(self._root / name / POLICY) as file:
                raw = file.read(_LONGEST_POLICY + 1)
        except FileNotFoundError:
            return None
        if len(raw) > _LONGEST_POLICY:
            raise PolicyError(f"{POLICY} is longer than {_LONGEST_POLICY} bytes")
        return raw.decode("utf-8", errors="replace")

    def write_policy(self, name: str, text: str) -> None:
        """Replace serving.json."""
        path = self._root / name / POLICY
        temporary = path.with_name(f".{POLICY}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8") as file:  # "x" follows no link
            file.write(text)
        temporary.replace(path)

    def copy(self, name: str, version: str, target: Path) -> None:
        """Copy a version's files; only plain files are taken, and no link is followed out of the folder."""
        folder = self._root / name / version
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    shutil.copyfile(entry.path, target / entry.name, follow_symlinks=False)


def _open_plain(path: Path) -> BinaryIO:
    try:
        # A pipe is opened without waiting for somebody to write to it.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PolicyError(f"{path.name} is a link, which is not followed; put the file itself there") from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise PolicyError(f"{path.name} is no plain file")
    return os.fdopen(file, "rb")


class RemoteSource:
    """Versions behind an fsspec address. On object stores a version is complete when its manifest, written last, is."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = PurePosixPath(root)

    def scan(self) -> Listing:
        """List the complete versions."""
        self._filesystem.invalidate_cache()
        models: dict[str, dict[str, str]] = {}
        for model in self._folders(str(self._root), MODEL_NAME):
            models[model.name] = {}
            for version in self._folders(str(model), VERSION_NAME):
                marks = {path.name: mark for path, mark in self._files(version)}
                if MANIFEST in marks:
                    models[model.name][version.name] = _stamp(version, marks)
        return Listing(models)

    def _files(self, folder: PurePosixPath) -> list[tuple[PurePosixPath, str]]:
        files = []
        for entry in self._filesystem.ls(str(folder), detail=True):
            path = PurePosixPath(entry["name"])
            if entry["type"] == "file" and VERSION_NAME.fullmatch(path.name):
                files.append((path, "-".join(str(entry[key]) for key in _REMOTE_MARKS if key in entry)))
        return files

    def _folders(self, parent: str, name: re.Pattern[str]) -> list[PurePosixPath]:
        entries = self._filesystem.ls(parent, detail=True)
        paths = (PurePosixPath(entry["name"]) for entry in entries if entry["type"] == "directory")
        return sorted(path for path in paths if name.fullmatch(path.name))

    def read_policy(self, name: str) -> str | None:
        """Return the text of serving.json."""
        try:
            raw: bytes = self._filesystem.cat_file(str(self._root / name / POLICY))
        except FileNotFoundError:
            return None
        return raw.decode("utf-8", errors="replace")

    def write_policy(self, name: str, text: str) -> None:
        """Replace serving.json."""
        self._filesystem.pipe_file(str(self._root / name / POLICY), text.encode())

    def copy(self, name: str, version: str, target: Path) -> None:
        """Download a version's files."""
        for path, _ in self._files(self._root / name / version):
            self._filesystem.get_file(str(path), str(target / path.name))


def _stamp(folder: PurePath, marks: dict[str, str]) -> str:
    return hashlib.sha256(repr((str(folder), sorted(marks.items()))).encode()).hexdigest()[:STAMP_LENGTH]


def open_source(address: str) -> ModelSource:
    """Open the repository at a path or an fsspec address.

    Raises ConfigurationError where the address needs a package that is not installed, or names no repository.
    """
    if "://" not in address:
        root = Path(address)
        if not root.is_dir():
            raise ConfigurationError(
                f"--models: there is no folder {address}; give the one that holds <name>/<version>/"
            )
        return LocalSource(root)
    try:
        import fsspec  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ConfigurationError(
            f"--models {address}: addresses other than folders need the extra cofactor[remote]"
        ) from None
    try:
        filesystem, root_path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ConfigurationError(f"--models {address}: {error}") from None
    except ValueError as error:
        raise ConfigurationError(f"--models {address} is not an address that fsspec knows: {error}") from None
    return RemoteSource(filesystem, root_path)
