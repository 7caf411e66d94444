"""List the versions of a model repository: their names, and the state of their files."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TypeAlias, TypeVar

_LOGGER = logging.getLogger(__name__)

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MANIFEST = "manifest.json"
STAMP_LENGTH = 32
_RULES = {
    MODEL_NAME: "model name has at most 64 lower-case letters, digits, '.', '_' and '-', the first a letter or digit",
    VERSION_NAME: "version has at most 64 letters, digits, '.', '_' and '-', the first a letter or digit",
}


@dataclass
class ModelListing:
    """The complete versions of one model, that is, those with a manifest.

    Attributes:
        stamps: version -> stamp. A stamp is a digest of the version's place and the state of its files: no two versions
            share one, and it changes when any of the files changes.
        unreadable: version -> why its folder cannot be read now.
        problem: why the folder of the model cannot be read now; empty if it can.
    """

    stamps: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    problem: str = ""


RepositoryListing: TypeAlias = dict[str, ModelListing]


class IgnoredEntries:
    """Logs what is ignored in a repository, every entry once."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def has_name(self, path: str, name: re.Pattern[str]) -> bool:
        """Return True if the last part of a path is an allowed name; report any other that is not hidden."""
        own_name = path.rpartition("/")[2]
        if name.fullmatch(own_name):
            return True
        # Publishers write to hidden folders, and file systems make this one.
        if not own_name.startswith(".") and own_name != "lost+found":
            self.report(path, f"a {_RULES[name]}")
        return False

    def report(self, path: str, reason: str) -> None:
        """Log that an entry is ignored."""
        if path not in self._reported:
            self._reported.add(path)
            _LOGGER.warning("ignoring %s: %s", path, reason)


Folder = TypeVar("Folder", bound=PurePath)


def list_models(
    root: Folder,
    folders: Callable[[Folder, re.Pattern[str]], list[Folder]],
    file_states: Callable[[Folder], dict[str, str]],
) -> RepositoryListing:
    """List the models below `root`; raises what `folders` raises for `root` itself."""
    return {model.name: _list_model(model, folders, file_states) for model in folders(root, MODEL_NAME)}


def _list_model(
    model: Folder,
    folders: Callable[[Folder, re.Pattern[str]], list[Folder]],
    file_states: Callable[[Folder], dict[str, str]],
) -> ModelListing:
    listing = ModelListing()
    try:
        versions = folders(model, VERSION_NAME)
    except Exception as error:  # fsspec's file systems raise the errors of their own libraries
        listing.problem = _problem(error)
        return listing
    for version in versions:
        try:
            states = file_states(version)
        except Exception as error:
            listing.unreadable[version.name] = _problem(error)
        else:
            if MANIFEST in states:
                listing.stamps[version.name] = _stamp(version, states)
    return listing


def _problem(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def _stamp(folder: PurePath, file_states: dict[str, str]) -> str:
    return hashlib.sha256(repr((str(folder), sorted(file_states.items()))).encode()).hexdigest()[:STAMP_LENGTH]
