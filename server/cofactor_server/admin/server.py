"""The admin API on a port of its own, reachable from this machine alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

from cofactor.admin.v1 import admin_pb2_grpc
from cofactor_server.admin.servicer import AdminServicer
from cofactor_server.errors import ConfigurationError
from cofactor_server.observability.counters import Metrics
from cofactor_server.security.access_control import AccessControl
from cofactor_server.security.tokens import Authentication
from cofactor_server.serving.registry import LiveRegistry
from cofactor_server.transport.interceptor import RequestInterceptor
from cofactor_server.transport.thread_pools import BoundedPool, ThreadPools

_THREADS = 4
_HOST = "127.0.0.1"


class AdminServer:
    """Answers operators until close().

    Attributes:
        port: where it listens.
    """

    def __init__(self, live: LiveRegistry, gate: Authentication | None, port: int) -> None:
        """Start on 127.0.0.1; tokens, where they are asked for, are asked for here too. Raises ConfigurationError."""
        calls, control = BoundedPool("admin", _THREADS, _THREADS), BoundedPool("admin-control", _THREADS, _THREADS)
        refusals = BoundedPool("admin-refusal", 1)
        pools = ThreadPools(calls=calls, streams=calls, control=control, watches=control, refusals=refusals)
        interceptor = RequestInterceptor(pools, AccessControl(gate), Metrics())
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS), interceptors=[interceptor], options=[("grpc.so_reuseport", 0)]
        )
        add_servicer = admin_pb2_grpc.add_AdminServiceServicer_to_server
        add_servicer(AdminServicer(live.watcher, live.source), self._server)
        _add_channelz(self._server)
        try:
            self.port: int = self._server.add_insecure_port(f"{_HOST}:{port}")
        except RuntimeError:
            raise ConfigurationError(f"cannot listen on {_HOST} port {port}: choose another --admin-port") from None
        self._server.start()

    def close(self) -> None:
        """Stop."""
        self._server.stop(1.0).wait()


def _add_channelz(server: grpc.Server) -> None:
    """Show connections and their counters to tools such as grpcdebug, where grpcio-channelz is installed."""
    try:
        from grpc_channelz.v1 import channelz  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return
    channelz.add_channelz_servicer(server)
