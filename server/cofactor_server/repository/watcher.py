"""Watch a model repository: copy, verify and load its versions, then swap the served set in one assignment."""

from __future__ import annotations

import gc
import logging
import random
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from weakref import ref

from cofactor.admin.v1.admin_pb2 import ServingPolicy
from cofactor_server.repository.erasure_records import ErasureError
from cofactor_server.repository.listing import ModelListing
from cofactor_server.repository.rule_sets import RULES, NamedRuleSets, RuleCheck, accept_all, parse_rule_sets
from cofactor_server.repository.serving_policy import (
    STABLE,
    PolicyError,
    Routing,
    make_routing,
    newest_first,
    parse_policy,
    versions_to_serve,
)
from cofactor_server.repository.sources import POLICY, ModelSource
from cofactor_server.repository.version_loader import LoadRecord, Refusal, VersionLoader

_LOGGER = logging.getLogger(__name__)

V = TypeVar("V")


@dataclass(frozen=True)
class ModelState(Generic[V]):
    """State of one model.

    Attributes:
        loaded: version -> its record, newest first.
        routing: decides which version serves a request; None if no version is loaded.
        refused: version -> why it is not served.
        available: versions that the repository holds.
        policy: the serving policy in force.
        rule_sets: the rule sets in force, by name.
    """

    loaded: dict[str, LoadRecord[V]] = field(default_factory=dict)
    routing: Routing | None = None
    refused: dict[str, Refusal] = field(default_factory=dict)
    available: frozenset[str] = frozenset()
    policy: ServingPolicy = field(default_factory=ServingPolicy)
    rule_sets: NamedRuleSets = field(default_factory=dict)


# Model name -> its state.
Snapshot = dict[str, ModelState[V]]


class Revision(Protocol[V]):
    """Changes loaded versions without loading them again, as the repository asks for."""

    def refresh(self) -> None:
        """Read from the repository what to change. Raises ErasureError, or what the repository raises."""

    def revise(self, value: V) -> V:
        """Return what replaces a loaded version: the version itself if nothing changes."""


class ModelWatcher(Generic[V]):
    """Polls a model repository and keeps a snapshot of the served versions.

    A snapshot is never changed, only replaced. A request reads `snapshot` once and uses the version it found there. A
    version is freed when it is no longer in the snapshot and its last request has ended. If anything goes wrong, the
    versions that were served before are still served.

    Attributes:
        snapshot: model name -> its state.
        repository_error: why the last poll could not read the repository; empty if it could.
        unreadable_models: model -> why the last poll could not read its folder or, at the start, its serving.json.
    """

    def __init__(
        self,
        source: ModelSource,
        load: Callable[[Path], V],
        copies: Path,
        on_swap: Callable[[Snapshot[V]], None] | None = None,
        check_rules: RuleCheck = accept_all,
        after_poll: Callable[[], None] = lambda: None,
        revision: Revision[V] | None = None,
    ) -> None:
        """Watch `source` without polling yet.

        load, copies: as VersionLoader describes them.
        on_swap: called with each new snapshot.
        check_rules: checks the rule sets of rules.json.
        after_poll: called at the end of every poll that could read the repository.
        revision: changes the loaded versions at every poll; `load` does the same to new ones.
        """
        self._source = source
        self._loader = VersionLoader(source, load, copies)
        self._on_swap = on_swap
        self._check_rules = check_rules
        self._after_poll = after_poll
        self._revision = revision
        self._polling = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._replaced: list[ref[V]] = []  # values that left the snapshot and may not be freed yet
        self.snapshot: Snapshot[V] = {}
        self.repository_error = ""
        self.unreadable_models: dict[str, str] = {}
        self._reported: dict[str, str] = {}

    def start(self, interval_s: float) -> None:
        """Poll in the background, every `interval_s` ± 50 %, so that replicas do not poll at the same moment."""
        self._thread = threading.Thread(target=self._run, args=(interval_s,), name="model-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling, after a load that is in progress. Loaded versions stay usable."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._loader.close()

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
                if self._revision is not None:
                    self._revision.refresh()
            except ErasureError as error:
                self._report_repository_error(str(error))
                return
            except Exception as error:  # fsspec's file systems raise the errors of their own libraries
                self._report_repository_error(f"{type(error).__name__}: {error}")
                return
            self._report_repository_error("")
            self._revise_loaded()
            self.unreadable_models = {}
            for name, model in listing.items():
                try:
                    self._follow(name, model, retry_refused)
                except Exception:  # the other models go on
                    _LOGGER.exception("following model %s failed; its loaded versions are still served", name)
            for name in self.snapshot.keys() - listing.keys():
                _LOGGER.warning("model %s is no longer in the repository; it is served until the server restarts", name)
            self._after_poll()

    def _revise_loaded(self) -> None:
        """Revise the loaded versions of all models, also of those that the repository no longer has."""
        if self._revision is None:
            return
        for name, state in self.snapshot.items():
            loaded = {
                version: replace(record, value=self._revision.revise(record.value))
                for version, record in state.loaded.items()
            }
            if loaded != state.loaded:
                self._swap(name, state, replace(state, loaded=loaded))

    def remove_stale_copies(self) -> None:
        """Remove old private copies that a killed server left behind."""
        self._loader.remove_stale_copies()

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

    def _follow(self, name: str, model: ModelListing, retry_refused: bool) -> None:
        """Bring one model up to date, as far as it can be read."""
        try:
            policy, problem = self._read_policy(name), model.problem
        except Exception as error:  # as in poll()
            policy, problem = None, model.problem or f"{POLICY}: {_reason(error)}"
        if problem:
            self._report(f"model {name}", f"cannot be read now: {problem}")
        if model.problem or (problem and name not in self.snapshot):
            # Without its serving policy a model must not start: users would get a version that the policy excludes.
            self.unreadable_models[name] = problem
            return
        if not problem:
            self._report(f"model {name}", "")
        self._update(name, model, policy, retry_refused)
        self._follow_rules(name)

    def _follow_rules(self, name: str) -> None:
        """Bring the rule sets of one model up to date; they stay what they were if rules.json cannot be used."""
        subject = f"{RULES} of model {name}"
        try:
            text = self._source.read_rules(name)
            rule_sets = parse_rule_sets(text, self._check_rules) if text is not None else {}
        except PolicyError as error:
            self._report(subject, f"{error}; the previous rule sets stay in force")
            return
        except Exception as error:  # as in poll()
            self._report(subject, f"cannot be read now: {_reason(error)}; the previous rule sets stay in force")
            return
        self._report(subject, "")
        before = self.snapshot.get(name)
        if before is not None and rule_sets != before.rule_sets:
            _LOGGER.info("model %s: rule sets %s", name, ", ".join(rule_sets) or "none")
            self._swap(name, before, replace(before, rule_sets=rule_sets))

    def _read_policy(self, name: str) -> ServingPolicy | None:
        """Return the policy in serving.json, or None if it is invalid and the previous one stays in force."""
        try:
            text = self._source.read_policy(name)
            policy = parse_policy(text) if text is not None else ServingPolicy()
        except PolicyError as error:
            self._report(f"policy of model {name}", f"{error}; the previous policy stays in force")
            return None
        self._report(f"policy of model {name}", "")
        return policy

    def _report(self, subject: str, problem: str) -> None:
        """Log a problem when it begins or changes, and not at every poll; an empty one is its end."""
        if problem and problem != self._reported.get(subject):
            _LOGGER.error("%s: %s", subject, problem)
        self._reported[subject] = problem

    def _update(self, name: str, model: ModelListing, new_policy: ServingPolicy | None, retry_refused: bool) -> None:
        """Bring the versions of one model up to date."""
        before = self.snapshot.get(name, ModelState[V]())
        policy = before.policy if new_policy is None else new_policy
        # Versions that cannot be read now stay what they were: one that was loaded has its old stamp.
        stamps = {v: before.loaded[v].stamp for v in model.unreadable if v in before.loaded} | model.stamps
        refused = _known_refusals(before, model, retry_refused)
        self._report(f"versions of model {name}", _describe_unreadable(refused, model.unreadable))
        self._report(f"serving.json of model {name}", _describe_missing(policy, stamps, before.loaded))
        loaded = dict(before.loaded)
        while True:
            usable = {v for v in stamps if v not in refused or v in loaded}
            wanted = versions_to_serve(policy, usable, loaded)
            missing = [v for v in wanted if v not in refused and _must_load(loaded.get(v), stamps.get(v))]
            if not missing:
                break
            # A refusal changes which versions are wanted (the next older one, for example), so compute them again.
            outcome = self._loader.load(name, missing[0], stamps[missing[0]])
            if isinstance(outcome, Refusal):
                refused[missing[0]] = outcome
            else:
                loaded[missing[0]] = outcome
        current = before.routing.current if before.routing else None
        serving = _select_loaded(policy, wanted, loaded, current)
        state = ModelState(
            serving, make_routing(policy, serving, current), refused, frozenset(stamps), policy, before.rule_sets
        )
        if state != before:
            self._swap(name, before, state)
        self._loader.release_all_except(
            {record.stamp for model in self.snapshot.values() for record in model.loaded.values()}
        )

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


def _known_refusals(before: ModelState[V], model: ModelListing, retry_refused: bool) -> dict[str, Refusal]:
    """Return the refusals that are still in force, and those of versions that cannot be read now."""
    refused = {
        version: Refusal("", f"cannot be read now: {problem}", is_final=False)
        for version, problem in model.unreadable.items()
        if version not in before.loaded
    }
    for version, refusal in before.refused.items():
        is_same = version in model.unreadable or model.stamps.get(version) == refusal.stamp
        if refusal.is_final and is_same and not retry_refused:
            refused[version] = refusal
    return refused


def _describe_unreadable(refused: Mapping[str, Refusal], unreadable: Mapping[str, str]) -> str:
    """Return a sentence about the versions that are not served because they cannot be read now, or nothing."""
    versions = newest_first(refused.keys() & unreadable)
    return "; ".join(f"{version} cannot be read now: {unreadable[version]}" for version in versions)


def _describe_missing(policy: ServingPolicy, available: Collection[str], loaded: Collection[str]) -> str:
    """Return a sentence about the versions that the policy names and nobody has, or nothing."""
    missing = {*policy.pinned, *policy.labels.values()} - {*available, *loaded}
    return f"it names versions that the repository does not have: {', '.join(newest_first(missing))}" if missing else ""


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def _select_loaded(
    policy: ServingPolicy, wanted: list[str], loaded: dict[str, LoadRecord[V]], current: str | None
) -> dict[str, LoadRecord[V]]:
    """Return the loaded versions that stay: the wanted ones, and the current one if nothing can replace it yet."""
    selected = [version for version in wanted if version in loaded]
    stable_is_missing = STABLE in policy.labels and policy.labels[STABLE] not in loaded
    if current is not None and current in loaded and current not in selected and (stable_is_missing or not selected):
        selected.append(current)
    return {version: loaded[version] for version in newest_first(selected)}


def _must_load(record: LoadRecord[V] | None, stamp: str | None) -> bool:
    """Return True if the version with this stamp is not loaded. stamp: None if it is not in the repository."""
    return stamp is not None and (record is None or record.stamp != stamp)
