"""The ASGI application: the JSON API, the page and what it needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp

from cofactor_web.grpc_server import GrpcServer
from cofactor_web.http_messages import Receive, Scope, Send
from cofactor_web.page_routes import page_application
from cofactor_web.rpc_endpoint import RpcEndpoint
from cofactor_web.rpcs import admin_rpcs, api_rpcs
from cofactor_web.settings import GatewaySettings


class Gateway:
    """The application. RPCs are found by one look-up of the path; Starlette serves all other routes.

    Starlette's routing and its request and response objects would add 60 % to the cost of HTTP, see
    docs/benchmarks/gateway.md.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._api = api_rpcs()
        self._admin = admin_rpcs() if settings.admin_target is not None else ()
        self._server: GrpcServer | None = None
        self._endpoints = {
            rpc.path: RpcEndpoint(rpc, self.server, settings, needs_content_type=rpc in self._admin)
            for rpc in (*self._api, *self._admin)
        }
        self._others: Starlette = page_application(settings, self.server, self._lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the application."""
        endpoint: ASGIApp | None = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        await (endpoint or self._others)(scope, receive, send)

    def server(self) -> GrpcServer:
        """Return the server, connected in the running event loop at the first call."""
        if self._server is None:
            self._server = GrpcServer(self._settings, self._api, self._admin)
        return self._server

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        if self._server is not None:
            await asyncio.shield(self._server.close())


def create_app(settings: GatewaySettings) -> Gateway:
    """Return the application, for any ASGI server."""
    return Gateway(settings)
