"""Implement AdminService: unpack, call, pack."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from cofactor.admin.v1 import admin_pb2
from cofactor.admin.v1.admin_pb2_grpc import AdminServiceServicer
from cofactor_server.admin.label_changes import LabelChanges
from cofactor_server.admin.overlay_changes import OverlayChanges
from cofactor_server.admin.user_erasures import UserErasures
from cofactor_server.observability.request_ids import request_id
from cofactor_server.repository.serving_policy import STABLE, newest_first
from cofactor_server.repository.watcher import ModelState
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import LiveRegistry


class AdminServicer(AdminServiceServicer):  # type: ignore[misc] # generated without annotations
    """Serve AdminService: read the watcher's snapshot, and write changes to the repository."""

    def __init__(
        self,
        live: LiveRegistry,
        on_reload: Callable[[], None],
        client_name: Callable[[grpc.ServicerContext], str],
        erasures: UserErasures,
    ) -> None:
        """Serve the versions of `live`.

        on_reload: tells other processes to look for changes.
        client_name: returns the name of the caller by its token, "" without tokens.
        erasures: records erasures of users.
        """
        self._watcher = live.watcher
        self._on_reload = on_reload
        self._client_name = client_name
        self._labels = LabelChanges(live.watcher, live.source)
        self._overlays = OverlayChanges(live)
        self._erasures = erasures

    def ListVersions(  # noqa: N802 (gRPC's name)
        self, _request: admin_pb2.ListVersionsRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ListVersionsResponse:
        """See admin.proto."""
        return admin_pb2.ListVersionsResponse(models=self._models())

    def Reload(  # noqa: N802
        self, _request: admin_pb2.ReloadRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ReloadResponse:
        """See admin.proto."""
        self._watcher.poll(retry_refused=True)
        self._on_reload()
        return admin_pb2.ReloadResponse(models=self._models())

    def Promote(  # noqa: N802
        self, request: admin_pb2.PromoteRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.PromoteResponse:
        """See admin.proto."""
        policy = self._labels.promote(request.name, request.version, request.label or STABLE)
        self._on_reload()
        return admin_pb2.PromoteResponse(policy=policy)

    def Rollback(  # noqa: N802
        self, request: admin_pb2.RollbackRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.RollbackResponse:
        """See admin.proto."""
        policy = self._labels.roll_back(request.name, request.label or STABLE)
        self._on_reload()
        return admin_pb2.RollbackResponse(policy=policy)

    def UpdateOverlay(  # noqa: N802
        self, request: admin_pb2.UpdateOverlayRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.UpdateOverlayResponse:
        """See admin.proto."""
        response = self._overlays.update(request)
        self._on_reload()
        return response

    def EraseUser(  # noqa: N802
        self, request: admin_pb2.EraseUserRequest, context: grpc.ServicerContext
    ) -> admin_pb2.EraseUserResponse:
        """See admin.proto."""
        caller, call = self._client_name(context), request_id(context.invocation_metadata())
        erasure = self._erasures.erase(request.user_id, request.name, caller, call)
        self._on_reload()
        return admin_pb2.EraseUserResponse(erasure=erasure)

    def ListErasures(  # noqa: N802
        self, request: admin_pb2.ListErasuresRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ListErasuresResponse:
        """See admin.proto."""
        return self._erasures.list_page(request.page_size, request.page_token)

    def _models(self) -> list[admin_pb2.ModelVersions]:
        return [_model_message(name, state) for name, state in sorted(self._watcher.snapshot.items())]


def _model_message(name: str, state: ModelState[LoadedVersion]) -> admin_pb2.ModelVersions:
    """Pack a model with every version that is available, loaded or refused."""
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
