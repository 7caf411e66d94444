"""Watch a model repository: copy, verify and load its versions, then swap the served set in one assignment."""

from __future__ import annotations

import errno
import gc
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar
from weakref import ref

from cofactor.admin.v1.admin_pb2 import ServingPolicy
from cofactor_server.errors import CofactorError
from cofactor_server.repository.serving_policy import (
    STABLE,
    PolicyError,
    Routing,
    make_routing,
    newest_first,
    parse_policy,
    versions_to_serve,
)
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


@dataclass(frozen=True)
class ModelState(Generic[V]):
    """State of one model.

    Attributes:
        loaded: version -> its record, newest first.
        routing: decides which version serves a request; None if no version is loaded.
        refused: version -> why it is not served.
        available: versions that the repository holds.
        policy: the serving policy in force.
    """

    loaded: dict[str, LoadRecord[V]] = field(default_factory=dict)
    routing: Routing | None = None
    refused: dict[str, Refusal] = field(default_factory=dict)
    available: frozenset[str] = frozenset()
    policy: ServingPolicy = field(default_factory=ServingPolicy)


# Model name -> its state.
Snapshot = dict[str, ModelState[V]]


class ModelWatcher(Generic[V]):
    """Polls a model repository and keeps a snapshot of the served versions.

    A snapshot is never changed, only replaced. A request reads `snapshot` once and uses the version it found there. A
    version is freed when it is no longer in the snapshot and its last request has ended. If anything goes wrong, the
    versions that were served before are still served.

    Attributes:
        snapshot: model name -> its state.
        repository_error: why the last poll could not read the repository; empty if it could.
    """

    def __init__(
        self,
        source: ModelSource,
        load: Callable[[Path], V],
        copies: Path,
        on_swap: Callable[[Snapshot[V]], None] | None = None,
    ) -> None:
        """Watch `source` without polling yet.

        load: verifies and loads a private copy, `<...>/<name>/<version>`; raises CofactorError to refuse the version.
        copies: folder for the private copies.
        on_swap: called with each new snapshot.
        """
        self._source = source
        self._load = load
        self._copies = VersionCopies(copies)
        self._on_swap = on_swap
        self._polling = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._replaced: list[ref[V]] = []  # values that left the snapshot and may not be freed yet
        self.snapshot: Snapshot[V] = {}
        self.repository_error = ""

    def start(self, interval_s: float) -> None:
        """Poll in the background, every `interval_s` ± 50 %, so that replicas do not poll at the same moment."""
        self._thread = threading.Thread(target=self._run, args=(interval_s,), name="model-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling, after a load that is in progress. Loaded versions stay usable."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._copies.close()

    def _run(self, interval_s: float) -> None:
        # The jitter need not be unpredictable.
        while not self._stopping.wait(interval_s * random.uniform(0.5, 1.5)):  # noqa: S311
            try:
                self.poll()
            except Exception:
                _LOGGER.exception("polling the model repository failed; the loaded versions are still served")

    def poll(self, *, retry_refused: bool = False) -> None:
        """Bring the served versions up to date with the repository.

        retry_refused: also try versions again that were refused for good.
        """
        with self._polling:
            self._free_replaced()
            try:
                listing = self._source.list_versions()
                policies = {name: self._read_policy(name) for name in listing}
            except Exception as error:  # fsspec's file systems raise the errors of their own libraries
                self._report_repository_error(f"{type(error).__name__}: {error}")
                return
            self._report_repository_error("")
            for name, stamps in listing.items():
                self._update(name, stamps, policies[name], retry_refused)
            for name in self.snapshot.keys() - listing.keys():
                _LOGGER.warning("model %s is no longer in the repository; it is served until the server restarts", name)

    def remove_stale_copies(self) -> None:
        """Remove old private copies that a killed server left behind."""
        self._copies.remove_stale()

    def _free_replaced(self) -> None:
        """Free replaced versions that only a reference cycle keeps alive, such as that of a failed call's traceback.

        Without this, Python's garbage collector would find them hours later, because the server creates few cycles.
        """
        if self._replaced:
            gc.collect()
            self._replaced = [reference for reference in self._replaced if reference() is not None]

    def _report_repository_error(self, problem: str) -> None:
        if problem and problem != self.repository_error:
            _LOGGER.error("the model repository cannot be read; the loaded versions are still served: %s", problem)
        elif self.repository_error and not problem:
            _LOGGER.info("the model repository can be read again")
        self.repository_error = problem

    def _read_policy(self, name: str) -> ServingPolicy | None:
        """Return the policy in serving.json, or None if it is invalid and the previous one stays in force."""
        try:
            text = self._source.read_policy(name)
            return parse_policy(text) if text is not None else ServingPolicy()
        except PolicyError as error:
            _LOGGER.error("model %s: %s; the previous policy stays in force", name, error)
            return None

    def _update(self, name: str, stamps: dict[str, str], new_policy: ServingPolicy | None, retry_refused: bool) -> None:
        """Bring one model up to date. stamps: version -> stamp, as the repository lists them."""
        before = self.snapshot.get(name, ModelState[V]())
        policy = before.policy if new_policy is None else new_policy
        refused = {
            version: refusal
            for version, refusal in before.refused.items()
            if refusal.is_final and not retry_refused and stamps.get(version) == refusal.stamp
        }
        loaded = dict(before.loaded)
        while True:
            usable = {v for v in stamps if v not in refused or v in loaded}
            wanted = versions_to_serve(policy, usable, loaded)
            missing = [v for v in wanted if v not in refused and _must_load(loaded.get(v), stamps.get(v))]
            if not missing:
                break
            # A refusal changes which versions are wanted (the next older one, for example), so compute them again.
            outcome = self._try_to_load(name, missing[0], stamps[missing[0]])
            if isinstance(outcome, Refusal):
                refused[missing[0]] = outcome
            else:
                loaded[missing[0]] = outcome
        current = before.routing.current if before.routing else None
        serving = _select_loaded(policy, wanted, loaded, current)
        state = ModelState(serving, make_routing(policy, serving, current), refused, frozenset(stamps), policy)
        if state != before:
            self._swap(name, before, state)
        # Requests in flight can still read the mapped files after they are removed.
        self._copies.release_all_except(
            {record.stamp for model in self.snapshot.values() for record in model.loaded.values()}
        )

    def _try_to_load(self, name: str, version: str, stamp: str) -> LoadRecord[V] | Refusal:
        started = time.monotonic()
        try:
            value = self._load_copy(name, version, stamp)
        except CofactorError as error:
            refusal = Refusal(stamp, str(error), is_final=True)
        except OSError as error:
            # A full disk or a lost network connection is not the fault of the version.
            refusal = Refusal(stamp, f"cannot be copied now: {error.strerror or type(error).__name__}", is_final=False)
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
            files = _file_names(copy)
            try:
                return self._load(copy)
            except CofactorError as error:
                if is_new and _file_names(copy) == files:
                    self._copies.release(stamp)
                    raise
                _LOGGER.warning(
                    "copying %s/%s again, because its private copy may be damaged: %s", name, version, error
                )
                self._copies.discard(stamp)
            except BaseException:
                self._copies.release(stamp)
                raise
        raise OSError(errno.ESTALE, "its private copies are damaged while they are read")

    def _swap(self, name: str, before: ModelState[V], state: ModelState[V]) -> None:
        snapshot = dict(self.snapshot)
        snapshot[name] = state
        self.snapshot = snapshot
        if state.routing is not None and state.routing != before.routing:
            _LOGGER.info("model %s: serving %s, current %s", name, ", ".join(state.loaded), state.routing.current)
        if self._on_swap is not None:
            self._on_swap(snapshot)
        still_loaded = state.loaded.values()
        self._replaced += [ref(record.value) for record in before.loaded.values() if record not in still_loaded]


def _select_loaded(
    policy: ServingPolicy, wanted: list[str], loaded: dict[str, LoadRecord[V]], current: str | None
) -> dict[str, LoadRecord[V]]:
    """Return the loaded versions that stay: the wanted ones, and the current one if nothing can replace it yet."""
    selected = [version for version in wanted if version in loaded]
    stable_is_missing = STABLE in policy.labels and policy.labels[STABLE] not in loaded
    if current is not None and current in loaded and current not in selected and (stable_is_missing or not selected):
        selected.append(current)
    return {version: loaded[version] for version in newest_first(selected)}


def _file_names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return frozenset()


def _must_load(record: LoadRecord[V] | None, stamp: str | None) -> bool:
    """Return True if the version with this stamp is not loaded. stamp: None if it is not in the repository."""
    return stamp is not None and (record is None or record.stamp != stamp)
