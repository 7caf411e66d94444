"""Keeps the served versions in step with the repository: verify, copy, load, try, and only then swap one reference."""

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
    wanted_versions,
)
from cofactor_server.repository.sources import ModelSource
from cofactor_server.repository.version_copies import VersionCopies

_log = logging.getLogger(__name__)

V = TypeVar("V")

# Copies of a version that are loaded before it waits for the next look at the repository.
_ATTEMPTS = 3


@dataclass(frozen=True)
class LoadedValue(Generic[V]):
    """A version in memory: what the loader made of it, the stamp of its files, and when (seconds since 1970)."""

    value: V
    stamp: str
    load_time: float


@dataclass(frozen=True)
class Refusal:
    """A version that is not served, and why; `final` ones are not tried again until their files change."""

    stamp: str
    reason: str
    final: bool


@dataclass(frozen=True)
class ModelState(Generic[V]):
    """One model: what is loaded, who answers, what was refused, what the repository holds."""

    loaded: dict[str, LoadedValue[V]] = field(default_factory=dict)
    routing: Routing | None = None
    refused: dict[str, Refusal] = field(default_factory=dict)
    available: frozenset[str] = frozenset()
    policy: ServingPolicy = field(default_factory=ServingPolicy)


Snapshot = dict[str, ModelState[V]]


class ModelWatcher(Generic[V]):
    """Polls a repository and swaps `snapshot`, which is never changed in place.

    A request takes `snapshot` once and keeps the version it found there; a version is freed when the snapshot has moved
    on and its last request is done. Whatever goes wrong, what served before goes on serving.

    Attributes:
        snapshot: model name -> its state.
        repository_error: why the last look at the repository failed; empty when it did not.
    """

    def __init__(
        self,
        source: ModelSource,
        load: Callable[[Path], V],
        copies: Path,
        on_swap: Callable[[Snapshot[V]], None] | None = None,
    ) -> None:
        """Watch `source`; `load` verifies and loads a private copy `<...>/<name>/<version>` made under `copies`.

        `load` raises CofactorError to refuse a version. `on_swap` is called with each new snapshot.
        """
        self._source = source
        self._load = load
        self._copies = VersionCopies(copies)
        self._on_swap = on_swap
        self._polling = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped: list[ref[V]] = []
        self.snapshot: Snapshot[V] = {}
        self.repository_error = ""

    def start(self, interval_s: float) -> None:
        """Poll in the background, every `interval_s` give or take a half, so that replicas do not poll together."""
        self._thread = threading.Thread(target=self._run, args=(interval_s,), name="model-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; waits for a load that is under way. What is loaded stays usable."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._copies.close()

    def _run(self, interval_s: float) -> None:
        # Not a secret: the jitter only spreads the replicas' polls.
        while not self._stopping.wait(interval_s * random.uniform(0.5, 1.5)):  # noqa: S311
            try:
                self.poll()
            except Exception:
                _log.exception("looking at the model repository failed; serving goes on")

    def poll(self, *, retry_refused: bool = False) -> None:
        """Bring the served versions in step once; with `retry_refused`, try versions again that were refused."""
        with self._polling:
            self._free_dropped()
            try:
                found = self._source.scan().models
                policies = {name: self._read_policy(name) for name in found}
            except Exception as error:  # the file systems of fsspec raise whatever their libraries do
                self._report_repository_error(f"{type(error).__name__}: {error}")
                return
            self._report_repository_error("")
            for name, stamps in found.items():
                self._update(name, stamps, policies[name], retry_refused)
            for name in self.snapshot.keys() - found.keys():
                _log.warning("model %s is gone from the repository; it is served until a restart", name)

    def _free_dropped(self) -> None:
        """Free versions that only a reference cycle keeps, such as that of a call that failed with its traceback.

        The interpreter alone would search for cycles hours later, in a server that leaves few.
        """
        if self._dropped:
            gc.collect()
            self._dropped = [dropped for dropped in self._dropped if dropped() is not None]

    def _report_repository_error(self, problem: str) -> None:
        if problem and problem != self.repository_error:
            _log.error("the model repository cannot be read, what is loaded serves on: %s", problem)
        elif self.repository_error and not problem:
            _log.info("the model repository can be read again")
        self.repository_error = problem

    def _update(self, name: str, stamps: dict[str, str], new_policy: ServingPolicy | None, retry_refused: bool) -> None:
        before = self.snapshot.get(name, ModelState[V]())
        policy = before.policy if new_policy is None else new_policy
        refused = {
            version: refusal
            for version, refusal in before.refused.items()
            if refusal.final and not retry_refused and stamps.get(version) == refusal.stamp
        }
        loaded = dict(before.loaded)
        while True:
            usable = {v for v in stamps if v not in refused or v in loaded}
            wanted = wanted_versions(policy, usable, loaded)
            missing = [v for v in wanted if v not in refused and _must_load(loaded.get(v), stamps.get(v))]
            if not missing:
                break
            # A refusal changes what is wanted (the next older version, say): look again after each.
            outcome = self._try(name, missing[0], stamps[missing[0]])
            if isinstance(outcome, Refusal):
                refused[missing[0]] = outcome
            else:
                loaded[missing[0]] = outcome
        current = before.routing.current if before.routing else None
        ready = self._kept(policy, wanted, loaded, current)
        state = ModelState(ready, make_routing(policy, ready, current), refused, frozenset(stamps), policy)
        if state != before:
            self._swap(name, before, state)
        # The mappings of requests still in flight outlive the files.
        self._copies.keep({each.stamp for held in self.snapshot.values() for each in held.loaded.values()})

    def _read_policy(self, name: str) -> ServingPolicy | None:
        """What serving.json says; None where that cannot be followed, and the policy before it stays."""
        try:
            text = self._source.read_policy(name)
            return parse_policy(text) if text is not None else ServingPolicy()
        except PolicyError as error:
            _log.error("model %s: %s; the policy before it stays", name, error)
            return None

    def _kept(
        self, policy: ServingPolicy, wanted: list[str], loaded: dict[str, LoadedValue[V]], current: str | None
    ) -> dict[str, LoadedValue[V]]:
        keep = [version for version in wanted if version in loaded]
        label_refused = STABLE in policy.labels and policy.labels[STABLE] not in loaded
        if current is not None and current in loaded and current not in keep and (label_refused or not keep):
            keep.append(current)
        return {version: loaded[version] for version in newest_first(keep)}

    def _try(self, name: str, version: str, stamp: str) -> LoadedValue[V] | Refusal:
        started = time.monotonic()
        try:
            value = self._load_copy(name, version, stamp)
        except CofactorError as error:
            refusal = Refusal(stamp, str(error), final=True)
        except OSError as error:
            # Neither the disk being full nor the network being gone says anything about the version.
            refusal = Refusal(stamp, f"cannot be copied now: {error.strerror or type(error).__name__}", final=False)
        except Exception as error:
            _log.exception("loading %s/%s failed", name, version)
            refusal = Refusal(stamp, f"loading failed with {type(error).__name__}; the log has the cause", final=True)
        else:
            _log.info("loaded %s/%s in %.2f s", name, version, time.monotonic() - started)
            return LoadedValue(value, stamp, time.time())
        _log.error("version %s/%s is not served: %s", name, version, refusal.reason)
        return refusal

    def _load_copy(self, name: str, version: str, stamp: str) -> V:
        """Load from a copy that no publisher can touch: files that shrink under a mapping end the process.

        A verdict on the version needs a copy that was made for it and is whole at the end: what is wrong with another
        may have happened to the copy.
        """
        for _ in range(_ATTEMPTS):
            copy, is_new = self._copies.hold(name, version, stamp, partial(self._source.copy, name, version))
            files = _names(copy)
            try:
                return self._load(copy)
            except CofactorError as error:
                if is_new and _names(copy) == files:
                    self._copies.release(stamp)
                    raise
                _log.warning("%s/%s is copied again, its private copy may be damaged: %s", name, version, error)
                self._copies.discard(stamp)
            except BaseException:
                self._copies.release(stamp)
                raise
        raise OSError(errno.ESTALE, "its private copies are damaged while they are read")

    def remove_stale_copies(self) -> None:
        """Remove old copies that a server left which was killed."""
        self._copies.remove_stale()

    def _swap(self, name: str, before: ModelState[V], state: ModelState[V]) -> None:
        snapshot = dict(self.snapshot)
        snapshot[name] = state
        self.snapshot = snapshot
        if state.routing is not None and state.routing != before.routing:
            _log.info("model %s: serving %s, current %s", name, ", ".join(state.loaded), state.routing.current)
        if self._on_swap is not None:
            self._on_swap(snapshot)
        self._dropped += [ref(each.value) for each in before.loaded.values() if each not in state.loaded.values()]


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return frozenset()


def _must_load(loaded: LoadedValue[V] | None, stamp: str | None) -> bool:
    """Whether a version in the repository (None: it no longer is) differs from what is loaded."""
    return stamp is not None and (loaded is None or loaded.stamp != stamp)
