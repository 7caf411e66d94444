"""Puts a server together: create_server(config) -> RunningServer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType

import grpc

from cofactor.v1 import catalog_pb2_grpc, recommender_pb2_grpc
from cofactor_server.admin.server import AdminServer
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError
from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.process_reports import MetricsReporter
from cofactor_server.observability.tracing import tracing_interceptor
from cofactor_server.security.access_control import AccessControl
from cofactor_server.security.authentication import Authenticator, TokenVerifier
from cofactor_server.security.json_web_tokens import JsonWebTokens
from cofactor_server.security.rate_limit import RateLimiter
from cofactor_server.security.static_tokens import StaticTokens
from cofactor_server.security.tls import TlsFiles, server_credentials
from cofactor_server.services.catalog_servicer import CatalogServicer
from cofactor_server.services.open_inference.servicer import OpenInferenceServicer
from cofactor_server.services.recommender_servicer import RecommenderServicer
from cofactor_server.services.shadow import ShadowTraffic
from cofactor_server.serving.gauges import ServingGauges
from cofactor_server.serving.registry import LiveRegistry, ModelRegistry
from cofactor_server.transport.health import Health, add_reflection
from cofactor_server.transport.interceptor import RequestInterceptor
from cofactor_server.transport.thread_pools import BoundedPool

_LOGGER = logging.getLogger(__name__)

CONTROL_THREADS = 4
CONTROL_QUEUE = 1024
REFUSAL_THREADS = 2
MAX_WATCHES = 512
NEVER = 2**31 - 1  # as gRPC writes it


class RunningServer:
    """A server that answers until stop().

    Attributes:
        port: where it listens.
        reporter: what it tells Prometheus.
        admin: its admin API, or None.
    """

    def __init__(
        self,
        server: grpc.Server,
        port: int,
        health: Health,
        live: LiveRegistry,
        config: ServerConfig,
        pools: Sequence[BoundedPool],
        shadow: ShadowTraffic,
        reporter: MetricsReporter,
        flush_traces: Callable[[], None],
        admin: AdminServer | None,
    ) -> None:
        self.port = port
        self.reporter = reporter
        self.admin = admin
        self._live = live
        self._server = server
        self._health = health
        self._config = config
        self._pools = pools
        self._shadow = shadow
        self._flush_traces = flush_traces
        self._stopping = threading.Lock()
        self._stopped = False

    @property
    def repository(self) -> ModelRegistry:
        """The models it serves at this moment."""
        return self._live.current

    def stop(self) -> None:
        """Says NOT_SERVING, gives clients time to see it, lets running calls finish, and ends."""
        with self._stopping:
            if self._stopped:
                return
            self._health.set_serving(False)
            time.sleep(self._config.drain_delay_s)
            self._server.stop(self._config.grace_s).wait()
            if self.admin is not None:
                self.admin.close()
            self._shadow.close()
            self._live.close()
            for pool in self._pools:
                pool.shutdown(wait=False)
            self._flush_traces()
            self._stopped = True

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def create_server(config: ServerConfig, *, shares_port: bool = False) -> RunningServer:
    """Loads the models and starts a server; with `shares_port` other processes may listen on its port too.

    Raises ModelRefused, ProviderUnavailable, or ConfigurationError, also when the port is taken.
    """
    gate = _gate(config)
    limiter = RateLimiter(config.rate_limit, config.rate_burst) if config.rate_limit > 0 else None
    metrics = Metrics()
    live = LiveRegistry(config, metrics)
    calls = BoundedPool("call", config.threads, config.max_queue_size)
    streams = BoundedPool("stream", config.max_streams)
    control = BoundedPool("control", CONTROL_THREADS, CONTROL_QUEUE)
    watches = BoundedPool("watch", MAX_WATCHES)
    refusals = BoundedPool("refusal", REFUSAL_THREADS)
    pools = (calls, streams, control, watches, refusals)
    shadow = ShadowTraffic(metrics, lambda: calls.is_busy)
    recommender = RecommenderServicer(lambda: live.current, config, metrics, shadow)
    interceptors: list[grpc.ServerInterceptor] = [
        RequestInterceptor(*pools, AccessControl(gate, limiter), metrics, recommender.coalesced_methods)
    ]
    flush_traces: Callable[[], None] = _nothing
    if config.tracing:
        tracing, flush_traces = tracing_interceptor()
        interceptors.insert(0, tracing)
    server = grpc.server(calls, interceptors=interceptors, options=_options(config, shares_port))
    recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(recommender, server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogServicer(lambda: live.current, config), server)
    if config.oip:
        oip = OpenInferenceServicer(lambda: live.current, config, metrics, metadata.version("cofactor"))
        server.add_generic_rpc_handlers((oip.handler(),))
    health = Health(server)
    add_reflection(server)
    port = _listen(server, config)
    admin = AdminServer(live, gate, config.admin_port) if config.admin_port else None
    server.start()
    health.set_serving(True)
    live.follow(config.poll_interval_s)
    _LOGGER.info("listening on %s port %d, default model %s", config.host, port, live.current.default_name)
    reporter = MetricsReporter(metrics, ServingGauges(live, lambda: calls.n_waiting))
    return RunningServer(server, port, health, live, config, pools, shadow, reporter, flush_traces, admin)


def _nothing() -> None:
    pass


def _gate(config: ServerConfig) -> Authenticator | None:
    """What asks for tokens, where the configuration names any kind of them."""
    verifiers: list[TokenVerifier] = []
    if config.tokens:
        verifiers.append(StaticTokens(Path(config.tokens)))
    if config.jwt_keys:
        verifiers.append(JsonWebTokens(Path(config.jwt_keys), config.jwt_issuer, config.jwt_audience))
    return Authenticator(verifiers, open_services=("grpc.health.v1.Health",)) if verifiers else None


def _listen(server: grpc.Server, config: ServerConfig) -> int:
    host = f"[{config.host}]" if ":" in config.host and not config.host.startswith(("[", "unix:")) else config.host
    address = host if host.startswith("unix:") else f"{host}:{config.port}"
    try:
        if not config.tls_certificate:
            return server.add_insecure_port(address)
        authority = Path(config.tls_client_authority) if config.tls_client_authority else None
        files = TlsFiles(Path(config.tls_certificate), Path(config.tls_key), authority)
        return server.add_secure_port(address, server_credentials(files))
    except RuntimeError:
        raise ConfigurationError(
            f"cannot listen on {config.host} port {config.port}: it is in use or not this machine's; "
            "choose another --port"
        ) from None


def _options(config: ServerConfig, shares_port: bool) -> list[tuple[str, int]]:
    return [
        # Unasked, a second server on the same port would silently take half of the calls.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_receive_message_length", config.max_message_mib * 2**20),
        # Clients reconnect now and then, or new replicas behind a long-lived connection get no traffic.
        ("grpc.max_connection_age_ms", int(config.max_connection_age_s * 1000) or NEVER),
        ("grpc.max_connection_age_grace_ms", int(config.grace_s * 1000)),
        # Keepalive pings of well-behaved clients are never answered with too_many_pings: they send one in 10 s, and the
        # network may bring two closer together.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
