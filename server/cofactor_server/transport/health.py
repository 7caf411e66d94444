"""Serve the standard gRPC health and reflection services."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cofactor.v1 import catalog_pb2, recommender_pb2

SERVICES = tuple(
    descriptor.services_by_name[name].full_name
    for descriptor, name in (
        (recommender_pb2.DESCRIPTOR, "RecommenderService"),
        (catalog_pb2.DESCRIPTOR, "CatalogService"),
    )
)


class Health:
    """Health service of a server: every service of the API, and the server as a whole under the name ""."""

    def __init__(self, server: grpc.Server) -> None:
        """Add the service to the server, as NOT_SERVING."""
        # Non-blocking watchers can deadlock with the server's own thread (grpc issue 43403). Blocking ones need a
        # thread each, so they have a thread pool of their own.
        self._servicer: Any = health.HealthServicer(experimental_non_blocking=False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        self.set_serving(False)

    def set_serving(self, serving: bool) -> None:
        """Report SERVING or NOT_SERVING from now on, also to callers of Watch."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            self._servicer.set(service, status)


def add_reflection(server: grpc.Server) -> None:
    """Let tools such as grpcurl list the services and their messages."""
    from grpc_reflection.v1alpha import reflection

    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
