"""Follow the overlays in the model repository, and derive the versions that serve them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from cofactor.v1.overlay_pb2 import Overlay
from cofactor_server.observability.counters import Metrics
from cofactor_server.repository.overlays.checks import OverlayError
from cofactor_server.repository.overlays.files import decode_overlay
from cofactor_server.repository.overlays.folders import OverlayFolders
from cofactor_server.repository.watcher import Snapshot
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.overlaid_version import overlay_version

_LOGGER = logging.getLogger(__name__)

# Number of an overlay and the state of its file.
_File = tuple[int, str]
SIGNED_ONLY = "--require-signature is set, and overlays are not signed; publish a version instead"


@dataclass
class _Followed:
    """A version whose overlays are followed.

    Attributes:
        base: the version without an overlay.
        file: the file of the overlay in force, None if there is none.
        overlay: this overlay.
        version: the version with it.
        refused: files that are not tried again until they change.
        problem: the problem that was logged last.
    """

    base: LoadedVersion
    file: _File | None = None
    overlay: Overlay | None = None
    version: LoadedVersion | None = None
    refused: set[_File] = field(default_factory=set)
    problem: str = ""


class OverlayFollower:
    """Keeps every loaded version at its overlay of the highest number that is valid. Not thread-safe.

    If a file cannot be read or is refused, the overlay that was in force stays.

    Attributes:
        accepts: False if every overlay is refused.
    """

    def __init__(self, folders: OverlayFolders, metrics: Metrics, *, accepts: bool = True) -> None:
        """`accepts=False` refuses every overlay, for servers that demand signatures."""
        self._folders = folders
        self._metrics = metrics
        self.accepts = accepts
        self._followed: dict[str, _Followed] = {}

    @property
    def versions(self) -> dict[str, LoadedVersion]:
        """Return the versions that have an overlay, by key."""
        return {key: entry.version for key, entry in self._followed.items() if entry.version is not None}

    def overlay_of(self, key: str) -> Overlay | None:
        """Return the overlay of a version that is in force, or None."""
        entry = self._followed.get(key)
        return None if entry is None else entry.overlay

    def follow(self, snapshot: Snapshot[LoadedVersion]) -> bool:
        """Look for changes of the overlays of all loaded versions; return True if `versions` has changed."""
        before = self.versions
        loaded = {record.value.key: record.value for state in snapshot.values() for record in state.loaded.values()}
        self._followed = {key: self._entry(key, base) for key, base in loaded.items()}
        for entry in self._followed.values():
            self._update(entry)
        return self.versions != before

    def _entry(self, key: str, base: LoadedVersion) -> _Followed:
        entry = self._followed.get(key)
        if entry is None or entry.base is base:
            return entry or _Followed(base)
        # The files of the version have changed. Its overlay must fit the new ones.
        fresh = _Followed(base)
        if entry.file is not None and entry.overlay is not None:
            self._apply(fresh, entry.file, entry.overlay)
        return fresh

    def _update(self, entry: _Followed) -> None:
        manifest = entry.base.manifest
        try:
            files = self._folders.list(manifest.name, manifest.version)
            self._use_newest(entry, files)
        except Exception as error:  # fsspec's file systems raise the errors of their own libraries
            problem = (isinstance(error, OSError) and error.strerror) or type(error).__name__
            self._report(entry, f"overlays cannot be read now ({problem}); {_in_force(entry)}")
            return
        self._report(entry, "")

    def _use_newest(self, entry: _Followed, files: dict[int, str]) -> None:
        """Apply the overlay with the highest number that is valid."""
        entry.refused &= set(files.items())
        manifest = entry.base.manifest
        for file in sorted(files.items(), reverse=True):
            if file == entry.file:
                return
            if file in entry.refused:
                continue
            try:
                if not self.accepts:
                    raise OverlayError("file", SIGNED_ONLY)
                overlay = decode_overlay(self._folders.read(manifest.name, manifest.version, file[0]), file[0])
            except OverlayError as error:
                self._refuse(entry, file, error)
                continue
            if self._apply(entry, file, overlay):
                return
        if entry.file is not None:
            _LOGGER.info("%s: its overlays are gone; it is served without one", entry.base.key)
            entry.file = entry.overlay = entry.version = None

    def _apply(self, entry: _Followed, file: _File, overlay: Overlay) -> bool:
        """Derive the version with an overlay; return False if the overlay is refused."""
        try:
            version = overlay_version(entry.base, overlay)
        except OverlayError as error:
            self._refuse(entry, file, error)
            return False
        entry.file, entry.overlay, entry.version = file, overlay, version
        entry.base.response_cache.clear()  # the version without an overlay answers no calls any more
        self._metrics.count("cofactor_overlays", "applied")
        n_added, n_removed = len(overlay.added_items), len(overlay.removed_item_ids)
        _LOGGER.info("%s: overlay %d adds %d items and removes %d", entry.base.key, file[0], n_added, n_removed)
        return True

    def _refuse(self, entry: _Followed, file: _File, error: OverlayError) -> None:
        entry.refused.add(file)
        self._metrics.count("cofactor_overlays", "refused")
        _LOGGER.error("%s: overlay %d refused: %s; %s", entry.base.key, file[0], error, _in_force(entry))

    def _report(self, entry: _Followed, problem: str) -> None:
        """Log a problem when it begins or changes, and not at every poll; an empty one is its end."""
        if problem and problem != entry.problem:
            _LOGGER.error("%s: %s", entry.base.key, problem)
        entry.problem = problem


def _in_force(entry: _Followed) -> str:
    return "it is served without an overlay" if entry.file is None else f"overlay {entry.file[0]} stays in force"
