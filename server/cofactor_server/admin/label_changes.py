"""Move labels between the versions of a model, in the repository."""

from __future__ import annotations

from collections.abc import Callable

from cofactor.admin.v1.admin_pb2 import ServingPolicy
from cofactor_server.errors import InvalidField, ModelNotFound, RepositoryReadOnly, quoted
from cofactor_server.repository.serving_policy import PolicyError, format_policy, promote, roll_back
from cofactor_server.repository.sources import ModelSource
from cofactor_server.repository.watcher import ModelState, ModelWatcher
from cofactor_server.serving.loaded_version import LoadedVersion


class LabelChanges:
    """Write the serving policies of the repository, so that every replica follows them."""

    def __init__(self, watcher: ModelWatcher[LoadedVersion], source: ModelSource) -> None:
        self._watcher = watcher
        self._source = source

    def promote(self, name: str, version: str, label: str) -> ServingPolicy:
        """Put a label on a version, and return the new policy.

        Raises ModelNotFound, InvalidField for a label that is not allowed, or RepositoryReadOnly.
        """
        if version not in self._state(name).available:
            raise ModelNotFound(f"the repository has no version {quoted(version)} of {quoted(name)}")
        return self._change(name, lambda policy: promote(policy, label, version))

    def roll_back(self, name: str, label: str) -> ServingPolicy:
        """Put a label back on the version that had it before, and return the new policy.

        Raises ModelNotFound, InvalidField for a label that was never moved, or RepositoryReadOnly.
        """
        return self._change(name, lambda policy: roll_back(policy, label))

    def _state(self, name: str) -> ModelState[LoadedVersion]:
        state = self._watcher.snapshot.get(name)
        if state is None:
            raise ModelNotFound(f"no model is called {quoted(name)}")
        return state

    def _change(self, name: str, change: Callable[[ServingPolicy], ServingPolicy]) -> ServingPolicy:
        self._watcher.poll()  # or a policy written since the last poll would be overwritten
        try:
            policy = change(self._state(name).policy)
        except PolicyError as error:
            raise InvalidField("label", str(error)) from None
        try:
            self._source.write_policy(name, format_policy(policy))
        except OSError as error:
            raise RepositoryReadOnly(error.strerror or type(error).__name__) from None
        self._watcher.poll()
        return policy
