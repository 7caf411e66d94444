"""The gRPC server behind the gateway: its channels, calls and health."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor_client.aio import open_channel
from cofactor_web.rpcs import Rpc
from cofactor_web.settings import GatewaySettings

# Responses may be as large as the server makes them.
_MAX_MESSAGE_BYTES = 64 * 2**20
_HEALTH_TIMEOUT_S = 2.0
# Without the client's service config: it would hold back calls to a server whose health is not SERVING.
_PLAIN_SERVICE_CONFIG = (("grpc.service_config", "{}"),)


class GrpcServer:
    """Connections to one server. Must be made in the event loop that uses it."""

    def __init__(self, settings: GatewaySettings, api: Iterable[Rpc], admin: Iterable[Rpc]) -> None:
        tls = settings.tls
        self._channels = [open_channel(settings.target, tls=tls, max_message_bytes=_MAX_MESSAGE_BYTES)]
        self._calls = {rpc.path: _multicallable(self._channels[0], rpc) for rpc in api}
        plain = open_channel(settings.target, tls=tls, channel_options=_PLAIN_SERVICE_CONFIG)
        self._channels.append(plain)
        self._health = health_pb2_grpc.HealthStub(plain)
        if settings.admin_target is not None:
            channel = open_channel(settings.admin_target, tls=tls, channel_options=_PLAIN_SERVICE_CONFIG)
            self._channels.append(channel)
            self._calls |= {rpc.path: _multicallable(channel, rpc) for rpc in admin}

    def start_call(self, rpc: Rpc, request: Any, timeout: float, metadata: tuple[tuple[str, str], ...]) -> Any:
        """Start a call; await the returned object for its response."""
        return self._calls[rpc.path](request, timeout=timeout, metadata=metadata)

    async def health(self) -> str:
        """Return "SERVING", "NOT_SERVING" or "UNREACHABLE"."""
        try:
            response = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            unreachable = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return "UNREACHABLE" if unreachable else "NOT_SERVING"
        return "SERVING" if response.status == health_pb2.HealthCheckResponse.SERVING else "NOT_SERVING"

    async def close(self) -> None:
        """Cancel the calls in flight and close the connections."""
        for channel in self._channels:
            await channel.close()


def _multicallable(channel: grpc.aio.Channel, rpc: Rpc) -> Any:
    response_class: Any = rpc.response_class
    return channel.unary_unary(
        rpc.grpc_path,
        request_serializer=rpc.request_class.SerializeToString,
        response_deserializer=response_class.FromString,
    )
