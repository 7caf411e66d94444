"""Move labels between the versions of a model, in the repository."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cofactor.admin.v1.admin_pb2 import ServingPolicy
from cofactor_server.errors import InvalidField, ModelNotFound, RepositoryReadOnly, quoted
from cofactor_server.repository.serving_policy import PolicyError, format_policy, parse_policy, promote, roll_back
from cofactor_server.repository.sources import ModelSource
from cofactor_server.repository.watcher import ModelWatcher
from cofactor_server.serving.loaded_version import LoadedVersion


class LabelChanges:
    """Write the serving policies of the repository, so that every replica follows them."""

    def __init__(self, watcher: ModelWatcher[LoadedVersion], source: ModelSource) -> None:
        self._watcher = watcher
        self._source = source
        self._changing = threading.Lock()

    def promote(self, name: str, version: str, label: str) -> ServingPolicy:
        """Put a label on a version, and return the new policy.

        Raises ModelNotFound, InvalidField for a label that is not allowed, or RepositoryReadOnly.
        """

        def put(policy: ServingPolicy) -> ServingPolicy:
            self._check_version(name, version)
            return promote(policy, label, version)

        return self._change(name, put)

    def roll_back(self, name: str, label: str) -> ServingPolicy:
        """Put a label back on the version that had it before, and return the new policy.

        Raises ModelNotFound, InvalidField for a label that was never moved, or RepositoryReadOnly.
        """

        def put_back(policy: ServingPolicy) -> ServingPolicy:
            changed = roll_back(policy, label)
            self._check_version(name, changed.labels[label])
            return changed

        return self._change(name, put_back)

    def _check_version(self, name: str, version: str) -> None:
        state = self._watcher.snapshot[name]
        if version not in state.available and version not in state.loaded:
            raise ModelNotFound(f"the repository has no version {quoted(version)} of {quoted(name)}")

    def _change(self, name: str, change: Callable[[ServingPolicy], ServingPolicy]) -> ServingPolicy:
        """Change serving.json as it is in the repository, which may be newer than the last poll."""
        changed = ServingPolicy()

        def rewrite(text: str | None) -> str:
            policy = parse_policy(text) if text is not None else ServingPolicy()
            try:
                changed.CopyFrom(change(policy))
            except PolicyError as error:
                raise InvalidField("label", str(error)) from None
            return format_policy(changed)

        with self._changing:
            self._watcher.poll()  # the version may have been published just now
            if name not in self._watcher.snapshot:
                raise ModelNotFound(f"no model is called {quoted(name)}")
            try:
                self._source.update_policy(name, rewrite)
            except PolicyError as error:  # a file that people wrote is not replaced by what was in force before
                raise RepositoryReadOnly(str(error)) from None
            except OSError as error:
                raise RepositoryReadOnly(error.strerror or type(error).__name__) from None
            self._watcher.poll()
        return changed
