"""Registry of the loaded model versions: selects the version that serves a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cofactor.v1 import model_pb2
from cofactor.v1.model_pb2 import ModelRef
from cofactor_server.config import ServerConfig
from cofactor_server.errors import (
    ConfigurationError,
    ModelNotFound,
    ModelRefused,
    NotServing,
    RequestError,
    RuleSetNotFound,
    quoted,
)
from cofactor_server.inference.ann_index import load_faiss
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.execution_providers import requested_providers
from cofactor_server.observability.counters import Metrics
from cofactor_server.repository.erasure_records import ErasureKey, ErasureStore
from cofactor_server.repository.locked_folder import open_process_folder
from cofactor_server.repository.rule_sets import NamedRuleSet, RuleCheck, accept_all
from cofactor_server.repository.serving_policy import newest_first
from cofactor_server.repository.signatures import SignatureVerifier
from cofactor_server.repository.sources import ModelSource, open_source
from cofactor_server.repository.version_directory import open_version_directory, verify_manifest_checksum
from cofactor_server.repository.watcher import ModelState, ModelWatcher, Snapshot
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.overlay_follower import OverlayFollower
from cofactor_server.serving.user_erasure import UserErasure

VersionState = ModelState[LoadedVersion]


class ModelRegistry:
    """The loaded versions at one moment. Immutable, so that a request sees one state from beginning to end.

    Attributes:
        versions: loaded versions by model name, newest first.
        default_name: model that serves requests which name none.
        has_shadows: True if a serving policy runs requests on a second version.
        has_canaries: True if a serving policy gives some users another version than the current one.
        coalesces_calls: True if all versions are served best by coalescing the calls that arrive together.
    """

    def __init__(
        self,
        states: Mapping[str, VersionState],
        default_name: str,
        overlaid: Mapping[str, LoadedVersion] | None = None,
    ) -> None:
        """`overlaid` has the versions that are served with an overlay, by key."""
        self.default_name = default_name
        overlaid = overlaid or {}
        self._routings = {name: state.routing for name, state in states.items() if state.routing is not None}
        self._rule_sets = {name: state.rule_sets for name, state in states.items()}
        self.has_shadows = any(routing.shadows for routing in self._routings.values())
        self._divided = {name: routing for name, routing in self._routings.items() if routing.has_canaries}
        self.has_canaries = bool(self._divided)
        self.versions = {
            name: [overlaid.get(loaded.value.key, loaded.value) for loaded in state.loaded.values()]
            for name, state in states.items()
            if state.loaded
        }
        self._by_key = {version.key: version for versions in self.versions.values() for version in versions}
        self._by_page_key = {version.page_key: version for version in self._by_key.values()}
        self.coalesces_calls = not self.has_shadows and all(v.coalesces_calls for v in self._by_key.values())
        self._current = {name: self._by_key[f"{name}/{routing.current}"] for name, routing in self._routings.items()}
        self._descriptions = {key: self._describe(version) for key, version in self._by_key.items()}
        self._refused = {
            name: [_describe_refused(name, version, refusal.reason) for version, refusal in state.refused.items()]
            for name, state in states.items()
        }

    def get(self, page_key: str) -> LoadedVersion | None:
        """Return the version with this page_key, or None if it is not loaded or has another overlay now."""
        return self._by_page_key.get(page_key)

    def model_name(self, name: str) -> str:
        """Return the name of a model, the default one if `name` is empty; raises ModelNotFound or NotServing."""
        name = name or self.default_name
        if name not in self._current:
            raise self._not_found(name)
        return name

    def rule_set(self, model: str, name: str) -> NamedRuleSet:
        """Return a rule set of a model; raises RuleSetNotFound."""
        rule_sets = self._rule_sets.get(model, {})
        if name not in rule_sets:
            raise RuleSetNotFound(name, rule_sets)
        return rule_sets[name]

    def resolve(self, ref: ModelRef, user_id: str = "") -> LoadedVersion:
        """Return the version that serves a request.

        A request that names neither a version nor a label goes to the current version, or to a canary if `user_id` is
        in its share of users. Raises ModelNotFound, or NotServing if no model is loaded.
        """
        name = ref.name or self.default_name
        choice = ref.WhichOneof("choice")
        if choice is None:
            return self._routed(name, user_id)
        routing = self._routings.get(name)
        if routing is None:
            raise self._not_found(name)
        if choice == "label":
            labelled = routing.labels.get(ref.label)
            if labelled is None:
                raise ModelNotFound(f"no version of {quoted(name)} is labelled {quoted(ref.label)}")
            return self._by_key[f"{name}/{labelled}"]
        found = self._by_key.get(f"{name}/{ref.version}")
        if found is None:
            raise ModelNotFound(f"version {quoted(ref.version)} of {quoted(name)} is not served")
        return found

    def resolve_default(self, user_id: str = "") -> LoadedVersion:
        """Return the version that serves a request which names no model; see `resolve`."""
        return self._routed(self.default_name, user_id)

    def canary_share(self, ref: ModelRef, user_id: str) -> tuple[str, str, str] | None:
        """Return model, version and role ("canary" or "current") if a canary share decides who serves a request.

        Returns None for requests that name a version, a label or no user, and for models without canaries.
        """
        name = ref.name or self.default_name
        routing = self._divided.get(name)
        if routing is None or not user_id or ref.WhichOneof("choice"):
            return None
        version = routing.version_for(user_id)
        return name, version, "current" if version == routing.current else "canary"

    def _routed(self, name: str, user_id: str) -> LoadedVersion:
        current = self._current.get(name)
        if current is None:
            raise self._not_found(name)
        routing = self._routings[name]
        return self._by_key[f"{name}/{routing.version_for(user_id)}"] if routing.canaries and user_id else current

    def _not_found(self, name: str) -> RequestError:
        return ModelNotFound(f"no model is called {quoted(name)}") if self._current else NotServing()

    def shadow_of(self, version: LoadedVersion, user_id: str) -> LoadedVersion | None:
        """Return the version that shadows `version` for this user, or None."""
        name = version.manifest.name
        shadow = self._routings[name].shadow_for(user_id) if name in self._routings else None
        return self._by_key[f"{name}/{shadow}"] if shadow not in (None, version.manifest.version) else None

    def describe(self, version: LoadedVersion) -> model_pb2.Model:
        """Return the description of a version, with its current labels."""
        return self._descriptions[version.key]

    def describe_all(self) -> list[model_pb2.Model]:
        """Return the description of every loaded or refused version, by model name, newest first."""
        descriptions = []
        for name in sorted({*self.versions, *self._refused}):
            by_version = {loaded.manifest.version: self.describe(loaded) for loaded in self.versions.get(name, [])}
            for refused in self._refused.get(name, []):
                # A loaded version is also refused if its files changed and the new ones are invalid.
                by_version.setdefault(refused.version, refused)
            descriptions += [by_version[version] for version in newest_first(by_version)]
        return descriptions

    def _describe(self, version: LoadedVersion) -> model_pb2.Model:
        routing = self._routings[version.manifest.name]
        described = model_pb2.Model()
        described.CopyFrom(version.description)
        described.labels.extend(sorted(k for k, labelled in routing.labels.items() if labelled == described.version))
        return described


def _describe_refused(name: str, version: str, reason: str) -> model_pb2.Model:
    return model_pb2.Model(name=name, version=version, state=model_pb2.Model.STATE_FAILED, state_message=reason)


class LiveRegistry:
    """Follows the model repository: every change replaces `current` with a new registry.

    Attributes:
        source: the model repository.
        erasure: erases users from the loaded versions.
        watcher: loads versions from it.
        current: registry for new requests.
    """

    def __init__(
        self,
        config: ServerConfig,
        metrics: Metrics,
        device_failure: DeviceFailure | None = None,
        check_rules: RuleCheck = accept_all,
        source: ModelSource | None = None,
    ) -> None:
        """Verify and load the versions to serve. `device_failure` is told if a run on a device fails later.

        check_rules: checks the rule sets of the repository.
        source: the model repository; None for the one that the settings name.

        Raises ModelRefused, ProviderUnavailable or ConfigurationError if the default model cannot be served.
        """
        self._private_folder = None if config.copies else open_process_folder("")
        source = source or open_source(str(config.models))
        self.erasure = UserErasure(_erasure_store(config, source))
        copies = self._private_folder.path if self._private_folder else Path(config.copies)
        self.source = source
        self.overlays = OverlayFollower(source.overlays, metrics, accepts=not config.require_signature)
        load = _counted(_loader(config, device_failure, self.erasure), metrics)
        self.watcher = ModelWatcher(source, load, copies, self._swap, check_rules, self._follow_overlays, self.erasure)
        self._default_name = config.model
        self.current = ModelRegistry({}, "")
        self.watcher.poll()
        self._check_default(config)
        self.watcher.remove_stale_copies()

    def follow(self, interval_s: float) -> None:
        """Poll for new versions every `interval_s` seconds from now on; 0 does not poll."""
        if interval_s > 0:
            self.watcher.start(interval_s)

    def close(self) -> None:
        """Stop polling and remove the private copies. Loaded versions stay usable."""
        self.watcher.stop()
        if self._private_folder is not None:
            self._private_folder.close()

    def _swap(self, snapshot: Snapshot[LoadedVersion]) -> None:
        # With its overlay from the start, or a new version would show items for a moment that are removed.
        self.overlays.follow(snapshot)
        self._publish(snapshot)

    def _follow_overlays(self) -> None:
        if self.overlays.follow(self.watcher.snapshot):
            self._publish(self.watcher.snapshot)

    def _publish(self, snapshot: Snapshot[LoadedVersion]) -> None:
        # Without --model, the first model by name serves until _check_default has chosen one.
        self.current = ModelRegistry(snapshot, self._default_name or min(snapshot), self.overlays.versions)

    def _check_default(self, config: ServerConfig) -> None:
        if self.watcher.repository_error:
            raise ConfigurationError(f"--models: cannot read {config.models}: {self.watcher.repository_error}")
        self._check_readable(config)
        snapshot = self.watcher.snapshot
        names = sorted(name for name, state in snapshot.items() if state.available)
        if not names:
            raise ConfigurationError(
                f"--models: {config.models} contains no <name>/<version>/manifest.json with names in lower case, as "
                "docs/model-format.md allows them; cofactor-train writes one"
            )
        self._default_name = config.model or names[0]
        if self._default_name not in names:
            raise ConfigurationError(
                f"--model {config.model}: {config.models} has no such model; choose one of {', '.join(names)}"
            )
        default = snapshot[self._default_name]
        if default.routing is None:
            version = newest_first(default.refused)[0]
            refusal = default.refused[version]
            if refusal.is_final:
                raise ModelRefused(refusal.reason)
            copies = f"--copies {config.copies}" if config.copies else "a temporary folder; --copies names another"
            raise ConfigurationError(f"{self._default_name}/{version} {refusal.reason} (its copy goes to {copies})")
        self._swap(snapshot)

    def _check_readable(self, config: ServerConfig) -> None:
        """Raise ConfigurationError if the default model cannot be read, or may be one that cannot be read."""
        for name, problem in sorted(self.watcher.unreadable_models.items()):
            if name == (config.model or name):
                raise ConfigurationError(
                    f"--models: cannot read model {name}: {problem}; make it readable, or name another with --model"
                )


def _counted(load: Callable[[Path], LoadedVersion], metrics: Metrics) -> Callable[[Path], LoadedVersion]:
    def load_and_count(path: Path) -> LoadedVersion:
        try:
            version = load(path)
        except Exception:
            metrics.count("cofactor_model_loads", "refused")
            raise
        metrics.count("cofactor_model_loads", "ready")
        return version

    return load_and_count


def _erasure_store(config: ServerConfig, source: ModelSource) -> ErasureStore:
    key = ErasureKey.read(Path(config.erasure_key_file)) if config.erasure_key_file else None
    return ErasureStore(source.list_erasures, source.read_erasure, key)


def _loader(
    config: ServerConfig, device_failure: DeviceFailure | None, erasure: UserErasure
) -> Callable[[Path], LoadedVersion]:
    # With workers, every process would have copies of the tables on the device, and contend for it.
    provider = "cpu" if config.provider == "auto" and config.workers > 1 else config.provider
    providers = requested_providers(provider, config.gpu_memory_mib)
    if config.approximate:
        load_faiss()
    verifier = SignatureVerifier(Path(config.require_signature)) if config.require_signature else None

    def load(path: Path) -> LoadedVersion:
        verify_manifest_checksum(path)
        if verifier is not None:
            verifier.verify(path)
        return erasure.revise(LoadedVersion(open_version_directory(path), providers, config, device_failure))

    return load
