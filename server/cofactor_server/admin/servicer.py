"""The operators' API: what the repository and the server hold, and moving labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from cofactor.admin.v1 import admin_pb2
from cofactor.admin.v1.admin_pb2_grpc import AdminServiceServicer
from cofactor_server.errors import InvalidField, ModelNotFound, RepositoryReadOnly, quoted
from cofactor_server.repository.serving_policy import (
    STABLE,
    PolicyError,
    format_policy,
    newest_first,
    promote,
    roll_back,
)
from cofactor_server.repository.sources import ModelSource
from cofactor_server.repository.watcher import ModelState, ModelWatcher


class AdminServicer(AdminServiceServicer):  # type: ignore[misc] # generated without annotations
    """Answers from the watcher's snapshot; changes go through the repository, so that every replica makes them."""

    def __init__(self, watcher: ModelWatcher[Any], source: ModelSource) -> None:
        self._watcher = watcher
        self._source = source

    def ListVersions(  # noqa: N802 # the RPC's name
        self, _request: admin_pb2.ListVersionsRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ListVersionsResponse:
        """List what is held."""
        return admin_pb2.ListVersionsResponse(models=self._models())

    def Reload(  # noqa: N802
        self, _request: admin_pb2.ReloadRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ReloadResponse:
        """Look at the repository now."""
        self._watcher.poll(retry_refused=True)
        return admin_pb2.ReloadResponse(models=self._models())

    def Promote(  # noqa: N802
        self, request: admin_pb2.PromoteRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.PromoteResponse:
        """Put a label on a version."""
        state = self._state(request.name)
        if request.version not in state.available:
            raise ModelNotFound(f"the repository holds no version {quoted(request.version)} of {quoted(request.name)}")
        label = request.label or STABLE
        return admin_pb2.PromoteResponse(
            policy=self._change(request.name, lambda policy: promote(policy, label, request.version))
        )

    def Rollback(  # noqa: N802
        self, request: admin_pb2.RollbackRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.RollbackResponse:
        """Put a label back."""
        self._state(request.name)
        label = request.label or STABLE
        return admin_pb2.RollbackResponse(policy=self._change(request.name, lambda policy: roll_back(policy, label)))

    def _state(self, name: str) -> ModelState[Any]:
        state = self._watcher.snapshot.get(name)
        if state is None:
            raise ModelNotFound(f"no model is called {quoted(name)}")
        return state

    def _change(
        self, name: str, change: Callable[[admin_pb2.ServingPolicy], admin_pb2.ServingPolicy]
    ) -> admin_pb2.ServingPolicy:
        self._watcher.poll()  # or what was written since the last look would be lost
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

    def _models(self) -> list[admin_pb2.ModelVersions]:
        return [_model(name, state) for name, state in sorted(self._watcher.snapshot.items())]


def _model(name: str, state: ModelState[Any]) -> admin_pb2.ModelVersions:
    model = admin_pb2.ModelVersions(name=name, policy=state.policy)
    for version in newest_first({*state.available, *state.loaded, *state.refused}):
        labels = [label for label, labelled in sorted(state.policy.labels.items()) if labelled == version]
        entry = model.versions.add(version=version, labels=labels, state=admin_pb2.Version.STATE_AVAILABLE)
        if version in state.refused:
            entry.state = admin_pb2.Version.STATE_REFUSED
            entry.state_message = state.refused[version].reason
        if version in state.loaded:
            entry.state = admin_pb2.Version.STATE_READY
            entry.load_time.FromSeconds(int(state.loaded[version].load_time))
            entry.is_current = state.routing is not None and state.routing.current == version
    return model
