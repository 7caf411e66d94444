"""Load versions from private copies, and tell versions at fault from problems that pass."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from cofactor_server.errors import CofactorError
from cofactor_server.repository.sources import ModelSource
from cofactor_server.repository.version_copies import VersionCopies

_LOGGER = logging.getLogger(__name__)

V = TypeVar("V")

# Copies of a version that may turn out damaged in one poll before the version waits for the next poll.
_MAX_COPIES = 3


@dataclass(frozen=True)
class LoadRecord(Generic[V]):
    """Record of a loaded version.

    Attributes:
        value: what the loader returned.
        stamp: stamp of the files it was loaded from.
        load_time: when it was loaded, in seconds since 1970.
    """

    value: V
    stamp: str
    load_time: float


@dataclass(frozen=True)
class Refusal:
    """Record of a version that is not served.

    Attributes:
        stamp: stamp of its files.
        reason: one sentence for the operator.
        is_final: True if the version is at fault, so that it is not tried again until its files change.
    """

    stamp: str
    reason: str
    is_final: bool


class VersionLoader(Generic[V]):
    """Loads versions of a repository. Not thread-safe.

    load: verifies and loads a private copy, `<...>/<name>/<version>`. It raises CofactorError to refuse the version for
    good, and OSError or MemoryError for a problem that may pass.
    copies: folder for the private copies.
    """

    def __init__(self, source: ModelSource, load: Callable[[Path], V], copies: Path) -> None:
        self._source = source
        self._load = load
        self._copies = VersionCopies(copies)

    def release_all_except(self, stamps: Collection[str]) -> None:
        """Release the copies of all other stamps. Requests in flight can still read their mapped files."""
        self._copies.release_all_except(stamps)

    def remove_stale_copies(self) -> None:
        """Remove old private copies that a killed server left behind."""
        self._copies.remove_stale()

    def close(self) -> None:
        """Unlock the copies."""
        self._copies.close()

    def load(self, name: str, version: str, stamp: str) -> LoadRecord[V] | Refusal:
        """Load a version from the files that have this stamp."""
        started = time.monotonic()
        try:
            value = self._load_copy(name, version, stamp)
        except CofactorError as error:
            refusal = Refusal(stamp, str(error), is_final=True)
        except (OSError, MemoryError) as error:
            # A full disk, a lost network connection or a lack of memory is not the fault of the version.
            problem = (isinstance(error, OSError) and error.strerror) or type(error).__name__
            refusal = Refusal(stamp, f"cannot be loaded now: {problem}", is_final=False)
        except Exception as error:
            _LOGGER.exception("loading %s/%s failed", name, version)
            reason = f"loading failed with {type(error).__name__}; the log has the traceback"
            refusal = Refusal(stamp, reason, is_final=True)
        else:
            _LOGGER.info("loaded %s/%s in %.2f s", name, version, time.monotonic() - started)
            return LoadRecord(value, stamp, time.time())
        _LOGGER.error("version %s/%s is not served: %s", name, version, refusal.reason)
        return refusal

    def _load_copy(self, name: str, version: str, stamp: str) -> V:
        """Load a version from a private copy that no publisher can touch.

        If a mapped file shrinks, the kernel kills the process, so the repository's own files are never mapped.
        The version is refused only if a fresh copy that still has all its files fails to load. Any other copy may have
        been damaged after it was made.
        """
        for _ in range(_MAX_COPIES):
            copy, is_new = self._copies.acquire(name, version, stamp, partial(self._source.copy, name, version))
            try:
                files = _file_names(copy)
                try:
                    return self._load(copy)
                except CofactorError as error:
                    if is_new and _file_names(copy) == files:
                        raise
                    problem = error
            except BaseException:
                self._copies.release(stamp)
                raise
            _LOGGER.warning("copying %s/%s again, because its private copy may be damaged: %s", name, version, problem)
            self._copies.discard(stamp)
        raise OSError(errno.ESTALE, "its private copies are damaged while they are read")


def _file_names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return frozenset()
