"""Build and start a server: create_server(config) -> RunningServer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType

import grpc

from cofactor.v1 import catalog_pb2_grpc, feedback_pb2_grpc, recommender_pb2_grpc
from cofactor_server.admin.server import AdminServer
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError
from cofactor_server.feedback.log import FeedbackLog, open_feedback_log
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.process_reports import MetricsReporter
from cofactor_server.observability.tracing import tracing_interceptor
from cofactor_server.security.access_control import AccessControl
from cofactor_server.security.authentication import Authenticator, TokenVerifier
from cofactor_server.security.json_web_tokens import JsonWebTokens
from cofactor_server.security.rate_limit import RateLimiter
from cofactor_server.security.static_tokens import StaticTokens
from cofactor_server.security.tls import CertificateReloader, TlsFiles, server_credentials
from cofactor_server.services.call_costs import call_costs
from cofactor_server.services.catalog_servicer import CatalogServicer
from cofactor_server.services.feedback_servicer import FeedbackServicer
from cofactor_server.services.open_inference import messages as open_inference
from cofactor_server.services.open_inference.servicer import OpenInferenceServicer
from cofactor_server.services.parsing.requests import RequestParser
from cofactor_server.services.recommender_servicer import RecommenderServicer
from cofactor_server.services.served_lists import ListCompleter
from cofactor_server.services.shadow import ShadowTraffic
from cofactor_server.serving.gauges import ServingGauges
from cofactor_server.serving.registry import LiveRegistry, ModelRegistry
from cofactor_server.transport.health import HEALTH, SERVICES, WATCH, Health, HealthWatches
from cofactor_server.transport.incoming_bodies import IncomingBodies
from cofactor_server.transport.interceptor import RequestInterceptor, SpecialMethods
from cofactor_server.transport.method_executor import MethodExecutor
from cofactor_server.transport.reflection import add_reflection
from cofactor_server.transport.thread_pools import BoundedPool, ThreadPools

_LOGGER = logging.getLogger(__name__)

CONTROL_THREADS = 4
CONTROL_QUEUE = 1024
CONTROL_BODY_BYTES = 8 * 2**20
REFUSAL_THREADS = 2
MAX_REFLECTION_STREAMS = 64
WINDOW_BYTES = 2**16 - 1
# A connection may have as many open calls as the server runs and queues, and these, which are refused or health checks.
SPARE_CALLS = 1024
NEVER = 2**31 - 1  # gRPC's own value for a connection age without limit


@dataclass(frozen=True)
class Listener:
    """gRPC server with its health service.

    Attributes:
        port: port that the server listens on.
        drain_delay_s: time between NOT_SERVING and refusing calls.
        grace_s: time that running calls have to finish.
    """

    server: grpc.Server
    health: Health
    port: int
    drain_delay_s: float
    grace_s: float

    def start(self) -> None:
        """Accept calls, and report SERVING."""
        self.server.start()
        self.health.set_serving(True)

    def drain(self) -> None:
        """Report NOT_SERVING, give clients time to see it, then refuse new calls and let running ones finish."""
        self.health.set_serving(False)
        time.sleep(self.drain_delay_s)
        stopped = self.server.stop(self.grace_s)
        self.health.close()  # these calls would last until the grace is over
        stopped.wait()


class RunningServer:
    """A server that answers calls until stop().

    Attributes:
        port: port that it listens on.
        pools: its thread pools.
        reporter: reports its metrics.
        admin: its admin API, or None.
        device_failure: says if a run on a device has failed.
    """

    def __init__(
        self,
        listener: Listener,
        live: LiveRegistry,
        pools: ThreadPools,
        reporter: MetricsReporter,
        admin: AdminServer | None,
        closing: ExitStack,
        authenticator: Authenticator | None = None,
        device_failure: DeviceFailure | None = None,
    ) -> None:
        """`closing` closes what the server uses; it runs after the drain. `authenticator` has files to reload.

        After a `device_failure` the server reports NOT_SERVING; whoever runs it must stop it.
        """
        self.port = listener.port
        self.pools = pools
        self.reporter = reporter
        self.admin = admin
        self._listener = listener
        self._live = live
        self._closing = closing
        self._authenticator = authenticator
        self._stopping = threading.Lock()
        self._is_stopped = False
        self.device_failure = device_failure or DeviceFailure()
        self.device_failure.then(lambda: listener.health.set_serving(False))

    @property
    def repository(self) -> ModelRegistry:
        """Return the versions that are loaded at this moment."""
        return self._live.current

    def reload_repository(self) -> None:
        """Look for changes of the repository now, and try refused versions again."""
        self._live.watcher.poll(retry_refused=True)

    def reload_files(self) -> None:
        """Read tokens and keys again. Certificates need no call: gRPC asks for them at every handshake."""
        _LOGGER.info("reloading tokens and keys")
        if self._authenticator is not None:
            self._authenticator.reload()

    def stop(self) -> None:
        """Drain the server and close it; a second call does nothing."""
        with self._stopping:
            if self._is_stopped:
                return
            self._listener.drain()
            if self.admin is not None:
                self.admin.close()
            self._closing.close()
            self._is_stopped = True

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def create_server(
    config: ServerConfig, *, shares_port: bool = False, on_reload: Callable[[], None] = lambda: None
) -> RunningServer:
    """Load the models and start a server.

    Args:
        config: the settings.
        shares_port: True lets other processes listen on the same port.
        on_reload: called when the admin API has changed or reloaded the repository, to tell other processes.

    Raises ModelRefused, ProviderUnavailable, or ConfigurationError, also if the port is taken.
    """
    authenticator = _authenticator(config)
    metrics = Metrics()
    with ExitStack() as closing:  # closes in reverse order, also when a later step fails
        tracing = _tracing(config, closing)
        pools = _thread_pools(config)
        closing.callback(pools.shutdown)
        device_failure = DeviceFailure()
        live = LiveRegistry(config, metrics, device_failure, RequestParser(config).rules.check)
        closing.callback(live.close)
        shadow = ShadowTraffic(metrics, lambda: pools.calls.is_busy)
        closing.callback(shadow.close)
        feedback = open_feedback_log(config, live.erasure.store, metrics)
        if feedback is not None:
            closing.callback(feedback.close)
        completer = ListCompleter(feedback, config.feedback_list_share)
        recommender = RecommenderServicer(lambda: live.current, config, metrics, shadow, completer)
        access_control = _access_control(config, authenticator)
        watches = HealthWatches()
        special = SpecialMethods(
            coalesced=recommender.coalesced_methods,
            unthreaded={WATCH: watches} if HealthWatches.AVAILABLE else {},
            costs=call_costs(config),
        )
        interceptor = RequestInterceptor(pools, access_control, metrics, special)
        # The interceptor gives every method an executor of its own; this one is only the default.
        executor, options = MethodExecutor(pools.calls), _options(config, shares_port)
        server = grpc.server(executor, interceptors=[*tracing, interceptor], options=options)
        _add_services(server, config, live, metrics, recommender)
        feedback_servicer = FeedbackServicer(lambda: live.current, config, feedback)
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(feedback_servicer, server)
        health = Health(server, watches)
        certificates = _certificates(config)
        expiry_times = certificates.expiry.times if certificates else dict[str, float]
        listener = Listener(server, health, _listen(server, config, certificates), config.drain_delay_s, config.grace_s)
        admin = _admin_server(config, live, authenticator, on_reload, feedback)
        reporter = MetricsReporter(metrics, ServingGauges(live, lambda: pools.calls.n_waiting, expiry_times))
        closing_all = closing.pop_all()
        running = RunningServer(listener, live, pools, reporter, admin, closing_all, authenticator, device_failure)
    listener.start()
    live.follow(config.poll_interval_s)
    _LOGGER.info("listening on %s port %d, default model %s", config.host, running.port, live.current.default_name)
    return running


def _tracing(config: ServerConfig, closing: ExitStack) -> list[grpc.ServerInterceptor]:
    if not config.tracing:
        return []
    interceptor, flush = tracing_interceptor()
    closing.callback(flush)
    return [interceptor]


def _admin_server(
    config: ServerConfig,
    live: LiveRegistry,
    authenticator: Authenticator | None,
    on_reload: Callable[[], None],
    feedback: FeedbackLog | None,
) -> AdminServer | None:
    if not config.admin_port:
        return None
    after_erasure = feedback.apply_erasures if feedback is not None else lambda: None
    return AdminServer(live, authenticator, config.admin_port, on_reload, after_erasure)


def _authenticator(config: ServerConfig) -> Authenticator | None:
    """Return what checks the tokens of calls; None if the server asks for none."""
    verifiers: list[TokenVerifier] = []
    if config.tokens:
        verifiers.append(StaticTokens(Path(config.tokens)))
    if config.jwt_keys:
        verifiers.append(JsonWebTokens(Path(config.jwt_keys), config.jwt_issuer, config.jwt_audience))
    return Authenticator(verifiers, open_services=("grpc.health.v1.Health",)) if verifiers else None


def _access_control(config: ServerConfig, authenticator: Authenticator | None) -> AccessControl:
    limiter = RateLimiter(config.rate_limit, config.rate_burst) if config.rate_limit > 0 else None
    return AccessControl(authenticator, limiter)


def _thread_pools(config: ServerConfig) -> ThreadPools:
    return ThreadPools(
        calls=BoundedPool("call", config.threads, config.max_queue_size),
        streams=BoundedPool("stream", config.max_streams),
        control=BoundedPool("control", CONTROL_THREADS, CONTROL_QUEUE, CONTROL_BODY_BYTES),
        watches=BoundedPool("watch", MAX_REFLECTION_STREAMS),
        refusals=BoundedPool("refusal", REFUSAL_THREADS),
        bodies=IncomingBodies(config.max_message_mib * 2**20),
    )


def _add_services(
    server: grpc.Server, config: ServerConfig, live: LiveRegistry, metrics: Metrics, recommender: RecommenderServicer
) -> None:
    recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(recommender, server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogServicer(lambda: live.current, config), server)
    services, private_pools = [*SERVICES, HEALTH], []
    if config.oip:
        oip = OpenInferenceServicer(lambda: live.current, config, metrics, metadata.version("cofactor"))
        server.add_generic_rpc_handlers((oip.handler(),))
        services.append(f"{open_inference.PACKAGE}.{open_inference.SERVICE}")
        private_pools.append(open_inference.POOL)
    add_reflection(server, services, private_pools)


def _certificates(config: ServerConfig) -> CertificateReloader | None:
    """Return the certificates of the port, None if the server has no TLS."""
    if not config.tls_certificate:
        return None
    authority = Path(config.tls_client_authority) if config.tls_client_authority else None
    return CertificateReloader(TlsFiles(Path(config.tls_certificate), Path(config.tls_key), authority))


def _listen(server: grpc.Server, config: ServerConfig, certificates: CertificateReloader | None) -> int:
    """Bind the server's port and return it."""
    host = f"[{config.host}]" if ":" in config.host and not config.host.startswith(("[", "unix:")) else config.host
    address = host if host.startswith("unix:") else f"{host}:{config.port}"
    try:
        if certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, server_credentials(certificates))
    except RuntimeError:
        raise ConfigurationError(
            f"cannot listen on {config.host} port {config.port}: the port is in use, or the address does not belong to "
            "this machine; choose another --port or --host"
        ) from None


def _options(config: ServerConfig, shares_port: bool) -> list[tuple[str, int]]:
    return [
        # gRPC's default would let a second server on the same port silently take half of the calls.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_receive_message_length", config.max_message_mib * 2**20),
        # A call whose body nobody has asked for holds one window of it. Probing would widen the window up to 4 MiB.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.max_concurrent_streams", config.threads + config.max_queue_size + config.max_streams + SPARE_CALLS),
        # Clients reconnect from time to time; otherwise new replicas get no traffic from long-lived connections.
        ("grpc.max_connection_age_ms", int(config.max_connection_age_s * 1000) or NEVER),
        ("grpc.max_connection_age_grace_ms", int(config.grace_s * 1000)),
        # Well-behaved clients send a keepalive ping every 10 s, and the network may bring two of them closer together.
        # With these limits the server never answers such pings with too_many_pings.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
