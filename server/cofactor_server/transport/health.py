"""Serve the standard gRPC health service."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cofactor.v1 import catalog_pb2, feedback_pb2, recommender_pb2
from cofactor_server.transport import early_bodies, unthreaded_stream
from cofactor_server.transport.unthreaded_stream import UnthreadedStream

SERVICES = tuple(
    descriptor.services_by_name[name].full_name
    for descriptor, name in (
        (recommender_pb2.DESCRIPTOR, "RecommenderService"),
        (catalog_pb2.DESCRIPTOR, "CatalogService"),
        (feedback_pb2.DESCRIPTOR, "FeedbackService"),
    )
)
HEALTH: str = health.SERVICE_NAME
WATCH = f"/{HEALTH}/Watch"
# Open watches of one connection. A gRPC channel opens one for each connection; a proxy may share its connection among
# many clients.
MAX_WATCHES_PER_CONNECTION = 100

_STATUS = health_pb2.HealthCheckResponse


class HealthWatches:
    """Calls of Watch. They hold no thread, so any number of them may be open.

    MethodExecutor hands it the calls in place of a thread pool. It sends every open call the first status and each
    change, and never waits for a client.

    Attributes:
        AVAILABLE: False if the installed grpcio does not support this; Watch then needs a thread for every call.
    """

    AVAILABLE = early_bodies.AVAILABLE and unthreaded_stream.AVAILABLE
    is_full = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status = _STATUS.NOT_SERVING
        self._streams: dict[UnthreadedStream, bool] = {}  # with True if the service is known
        self._n_by_connection: Counter[str] = Counter()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._streams)

    def has_room(self, _n_body_bytes: int) -> bool:
        """Return True: a call of Watch waits for nothing."""
        return True

    def enqueue(self, _fn: Callable[..., Any], args: tuple[Any, ...], _n_body_bytes: int = 0) -> None:
        """Take a call as early_bodies hands it over, in grpcio's polling thread."""
        _, rpc_event, state, _, take_request, *_ = args
        request = take_request()
        if request is None:
            return  # the caller has gone
        stream = UnthreadedStream(rpc_event, state)
        connection = stream.peer
        with self._lock:
            refusal = self._refusal(connection)
            if refusal is None and stream.on_end(lambda: self._remove(stream, connection)):
                self._n_by_connection[connection] += 1
                # The services are the same all the time, so the status of an unknown one never changes.
                is_known = self._streams[stream] = request.service in ("", *SERVICES)
                stream.send(_encode(self._status if is_known else _STATUS.SERVICE_UNKNOWN))
        if refusal is not None:
            stream.end(*refusal)

    def set_status(self, status: int) -> None:
        """Send a status to every watch of a known service, also to those that come later."""
        with self._lock:
            self._status = status
            for stream, is_known in self._streams.items():
                if is_known:
                    stream.send(_encode(status))

    def close(self) -> None:
        """End every watch, also those that come later: a server that stops waits for calls that are open."""
        with self._lock:
            self._is_closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.end(*_CLOSED)

    def _refusal(self, connection: str) -> tuple[int, str] | None:
        """Return the status that refuses a watch of this connection, None to take it."""
        if self._is_closed:
            return _CLOSED
        # Callers through a Unix socket all have the same address.
        if self._n_by_connection[connection] >= MAX_WATCHES_PER_CONNECTION and not connection.startswith("unix:"):
            return _TOO_MANY
        return None

    def _remove(self, stream: UnthreadedStream, connection: str) -> None:
        with self._lock:
            del self._streams[stream]
            self._n_by_connection[connection] -= 1
            if not self._n_by_connection[connection]:
                del self._n_by_connection[connection]


_CLOSED = (grpc.StatusCode.UNAVAILABLE.value[0], "the server stops; connect again")
_TOO_MANY = (
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
    f"the connection has {MAX_WATCHES_PER_CONNECTION} open watches already; share them, or open another connection",
)


def _encode(status: int) -> bytes:
    encoded: bytes = _STATUS(status=status).SerializeToString()
    return encoded


class Health:
    """Health service of a server: every service of the API, and the server as a whole under the name ""."""

    def __init__(self, server: grpc.Server, watches: HealthWatches) -> None:
        """Add the service to the server, as NOT_SERVING; `watches` gets its calls of Watch from the interceptor."""
        self._watches = watches
        # Its own Watch is called only if grpcio does not support HealthWatches. Its non-blocking variant can deadlock
        # with the server's own thread (grpc issue 43403).
        self._servicer: Any = health.HealthServicer(experimental_non_blocking=False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        self.set_serving(False)

    def set_serving(self, serving: bool) -> None:
        """Report SERVING or NOT_SERVING from now on, also to callers of Watch."""
        status = _STATUS.SERVING if serving else _STATUS.NOT_SERVING
        for service in ("", *SERVICES):
            self._servicer.set(service, status)
        self._watches.set_status(status)

    def close(self) -> None:
        """End all calls of Watch."""
        self._watches.close()
