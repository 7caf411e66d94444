"""MovieLens archives from GroupLens's own address, checked before they are unpacked."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cofactor_trainer.errors import InputError

_TIMEOUT_SECONDS = 60
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A zip file of one folder.

    Attributes:
        folder: the name of the folder inside.
        address: where it is.
        sha256: of the zip file, hexadecimal.
    """

    folder: str
    address: str
    sha256: str


_GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
ARCHIVES = {
    name: Archive(name, f"{_GROUPLENS}{name}.zip", sha256)
    for name, sha256 in (
        ("ml-100k", "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
        ("ml-1m", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
        ("ml-20m", "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
        ("ml-25m", "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"),
    )
}


def cache_dir() -> Path:
    """Where downloads are kept: cofactor in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cofactor"


def fetch(archive: Archive, into: Path) -> Path:
    """The unpacked folder of an archive, downloaded where it is not there yet.

    The folder appears by one rename, so that a download that was interrupted leaves none behind.

    Raises:
        InputError: the address cannot be reached, or what it sends is not the archive.
    """
    place = into / archive.folder
    if place.is_dir():
        return place
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{archive.folder}.", dir=into) as draft:
        zipped = Path(draft) / "archive.zip"
        found = _download(archive, zipped)
        if found != archive.sha256:
            raise InputError(
                f"{archive.address} sent a file with SHA-256 {found}, not {archive.sha256}: it is damaged or was "
                "changed; download it by hand, check it, and name its folder"
            )
        with zipfile.ZipFile(zipped) as content:
            content.extractall(draft)
        unpacked = Path(draft) / archive.folder
        if not unpacked.is_dir():
            raise InputError(f"{archive.address} holds no folder {archive.folder}")
        unpacked.rename(place)
    return place


def _download(archive: Archive, target: Path) -> str:
    """Write what the address sends -> its SHA-256."""
    try:
        # Addresses are constants of this module or a test's own; none comes from input.
        with urllib.request.urlopen(archive.address, timeout=_TIMEOUT_SECONDS) as sent, target.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(sent, file, _CHUNK_BYTES)
    except OSError as error:
        raise InputError(
            f"{archive.address} could not be downloaded ({error}): download and unpack it by hand, and name its folder "
            "with --dataset"
        ) from None
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
