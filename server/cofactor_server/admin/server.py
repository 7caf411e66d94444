"""Serve the admin API on a port of its own, which only this machine can reach."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc

from cofactor.admin.v1 import admin_pb2_grpc
from cofactor_server.admin.servicer import AdminServicer
from cofactor_server.admin.user_erasures import UserErasures
from cofactor_server.errors import ConfigurationError
from cofactor_server.observability.counters import Metrics
from cofactor_server.security.access_control import AccessControl
from cofactor_server.security.authentication import Authenticator
from cofactor_server.serving.registry import LiveRegistry
from cofactor_server.transport.incoming_bodies import IncomingBodies
from cofactor_server.transport.interceptor import RequestInterceptor
from cofactor_server.transport.thread_pools import BoundedPool, ThreadPools

_THREADS = 4
_MAX_MESSAGE_BYTES = 16 * 2**20  # an overlay of 10,000 items has about 6 MiB
_HOST = "127.0.0.1"
_ERASE_USER = "/cofactor.admin.v1.AdminService/EraseUser"


class AdminServer:
    """Server of the admin API that runs until close().

    Attributes:
        port: the port that it listens on.
    """

    def __init__(
        self,
        live: LiveRegistry,
        authenticator: Authenticator | None,
        port: int,
        on_reload: Callable[[], None] = lambda: None,
        after_erasure: Callable[[], None] = lambda: None,
    ) -> None:
        """Listen on 127.0.0.1, with the tokens of the main API; raises ConfigurationError if the port is taken.

        on_reload: called after a call that changed or reloaded the repository.
        after_erasure: called when the repository has a new erasure; removes the user elsewhere, or raises RequestError.
        """
        calls, control = BoundedPool("admin", _THREADS, _THREADS), BoundedPool("admin-control", _THREADS, _THREADS)
        refusals = BoundedPool("admin-refusal", 1)
        bodies = IncomingBodies(_MAX_MESSAGE_BYTES)
        pools = ThreadPools(calls, calls, control, control, refusals, bodies)
        interceptor = RequestInterceptor(pools, AccessControl(authenticator), Metrics())
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS),
            interceptors=[interceptor],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)],
        )
        add_servicer = admin_pb2_grpc.add_AdminServiceServicer_to_server
        erasures = UserErasures(live, after_erasure)
        add_servicer(AdminServicer(live, on_reload, partial(_client_name, authenticator), erasures), self._server)
        _add_channelz(self._server)
        try:
            self.port: int = self._server.add_insecure_port(f"{_HOST}:{port}")
        except RuntimeError:
            raise ConfigurationError(f"cannot listen on {_HOST} port {port}; choose another --admin-port") from None
        self._server.start()

    def close(self) -> None:
        """Stop; calls that run get one second to finish."""
        self._server.stop(1.0).wait()


def _client_name(authenticator: Authenticator | None, context: grpc.ServicerContext) -> str:
    """Return the name of the caller, whose token was checked already; "" without tokens."""
    if authenticator is None:
        return ""
    client = authenticator.authorize(_ERASE_USER, context.invocation_metadata())
    return client.name if client is not None else ""


def _add_channelz(server: grpc.Server) -> None:
    """Let tools such as grpcdebug show connections and their counters, if grpcio-channelz is installed."""
    try:
        from grpc_channelz.v1 import channelz  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return
    channelz.add_channelz_servicer(server)
