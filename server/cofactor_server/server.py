"""Puts a server together: create_server(config) -> RunningServer."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

import grpc

from cofactor.v1 import catalog_pb2_grpc, recommender_pb2_grpc
from cofactor_server.admission import BoundedPool
from cofactor_server.catalog_servicer import CatalogServicer
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError
from cofactor_server.health import Health, add_reflection
from cofactor_server.interceptor import RequestInterceptor
from cofactor_server.recommender_servicer import RecommenderServicer
from cofactor_server.repository import LiveRepository, ModelRepository

_LOGGER = logging.getLogger(__name__)

CONTROL_THREADS = 4
CONTROL_QUEUE = 1024
MAX_WATCHES = 512


class RunningServer:
    """A server that answers until stop().

    Attributes:
        port: where it listens.
    """

    def __init__(
        self, server: grpc.Server, port: int, health: Health, live: LiveRepository, config: ServerConfig
    ) -> None:
        self.port = port
        self._live = live
        self._server = server
        self._health = health
        self._config = config
        self._stopping = threading.Lock()
        self._stopped = False

    @property
    def repository(self) -> ModelRepository:
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
            self._live.close()
            self._stopped = True

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def create_server(config: ServerConfig) -> RunningServer:
    """Loads the models and starts a server.

    Raises ModelRefused, ProviderUnavailable, or ConfigurationError, also when the port is taken.
    """
    live = LiveRepository(config)
    calls = BoundedPool("call", config.threads, config.max_queue_size)
    streams = BoundedPool("stream", config.max_streams)
    control = BoundedPool("control", CONTROL_THREADS, CONTROL_QUEUE)
    watches = BoundedPool("watch", MAX_WATCHES)
    server = grpc.server(
        calls,
        interceptors=[RequestInterceptor(calls, streams, control, watches)],
        options=_options(config),
    )
    recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(
        RecommenderServicer(lambda: live.current, config), server
    )
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogServicer(lambda: live.current, config), server)
    health = Health(server)
    add_reflection(server)
    port = _listen(server, config)
    server.start()
    health.set_serving(True)
    live.follow(config.poll_interval_s)
    _LOGGER.info("listening on %s port %d, default model %s", config.host, port, live.current.default_name)
    return RunningServer(server, port, health, live, config)


def _listen(server: grpc.Server, config: ServerConfig) -> int:
    host = f"[{config.host}]" if ":" in config.host and not config.host.startswith("[") else config.host
    try:
        return server.add_insecure_port(f"{host}:{config.port}")
    except RuntimeError:
        raise ConfigurationError(
            f"cannot listen on {config.host} port {config.port}: it is in use or not of this machine; choose another"
        ) from None


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        # Without this a second server on the same port would silently take half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", config.max_message_mib * 2**20),
        # Clients reconnect now and then, or new replicas behind a long-lived connection get no traffic.
        ("grpc.max_connection_age_ms", int(config.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(config.grace_s * 1000)),
        # Keepalive pings of well-behaved clients are never answered with too_many_pings.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
