"""The routes besides the RPCs: the page and its files, health, metrics, the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc.aio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cofactor_client.aio import to_rpc_error
from cofactor_web.api_docs import DocsPage, openapi_document
from cofactor_web.grpc_server import GrpcServer
from cofactor_web.http_messages import Receive, Scope, Send, call_metadata, request_id
from cofactor_web.problems import CONTENT_TYPE, Problem, method_not_allowed, route_not_found, rpc_problem
from cofactor_web.rpcs import admin_rpcs
from cofactor_web.server_metrics import MetricsUnreadable, read_digest
from cofactor_web.settings import GatewaySettings

# The page loads nothing from elsewhere, runs no script and has no style but those in its own files, and is shown in no
# other page.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# Files may be stored, but the browser asks with their ETag each time, so a new release is seen at once.
_REVALIDATE = {"cache-control": "no-cache"}
_NOT_STORED = {"cache-control": "no-store"}
_ADMIN_TIMEOUT_S = 10.0

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def page_application(settings: GatewaySettings, server: Callable[[], GrpcServer], lifespan: Lifespan) -> Starlette:
    """Return the application of all routes that are not RPCs."""
    routes = _Routes(settings, server)
    return Starlette(
        routes=[
            Route("/", routes.index),
            Route("/openapi.json", routes.openapi),
            Route("/docs", routes.docs),
            Route("/docs.css", routes.docs_style),
            Route("/healthz", routes.healthz),
            Route("/api/health", routes.health),
            Route("/api/operator/metrics", routes.metrics),
            Mount("/static", StaticFiles(directory=settings.page)),
        ],
        middleware=[Middleware(_FixedHeaders), Middleware(GZipMiddleware, minimum_size=1024)],
        exception_handlers={HTTPException: _http_problem, Problem: _problem},
        lifespan=lifespan,
    )


class _Routes:
    """The functions behind the routes."""

    def __init__(self, settings: GatewaySettings, server: Callable[[], GrpcServer]) -> None:
        self._settings = settings
        self._server = server
        self._list_versions = next(rpc for rpc in admin_rpcs() if rpc.method.name == "ListVersions")
        document = openapi_document(with_admin=settings.admin_target is not None)
        self._openapi = json.dumps(document, ensure_ascii=False).encode()
        self._docs = DocsPage(document)

    async def index(self, _request: Request) -> Response:
        return FileResponse(self._settings.page / "index.html", headers=_REVALIDATE)

    async def openapi(self, _request: Request) -> Response:
        # A response is for one request: compression changes its headers.
        return Response(self._openapi, media_type="application/json", headers=_REVALIDATE)

    async def docs(self, _request: Request) -> Response:
        return Response(self._docs.html, media_type="text/html", headers=_REVALIDATE)

    async def docs_style(self, _request: Request) -> Response:
        return Response(self._docs.style, media_type="text/css", headers=_REVALIDATE)

    async def healthz(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_NOT_STORED)

    async def health(self, _request: Request) -> Response:
        state = {
            "server": await self._server().health(),
            "operator": self._settings.admin_target is not None,
            "metrics": self._settings.metrics_url is not None,
        }
        return JSONResponse(state, headers=_NOT_STORED)

    async def metrics(self, request: Request) -> Response:
        """Return the digest of the metrics. With an admin API, the caller needs a token that it accepts."""
        url = self._settings.metrics_url
        if url is None:
            raise route_not_found(request.url.path)
        if self._settings.admin_target is not None:
            await self._check_token(request)
        try:
            found = await asyncio.to_thread(read_digest, url)
        except MetricsUnreadable as error:
            raise Problem(503, "METRICS_UNREADABLE", str(error)) from None
        return JSONResponse(found, headers=_NOT_STORED)

    async def _check_token(self, request: Request) -> None:
        """Raise Problem unless the admin API lets the caller list the versions."""
        headers = dict(request.headers.raw)
        rpc = self._list_versions
        metadata = call_metadata(headers, request_id(headers))
        try:
            await self._server().start_call(rpc, rpc.request_class(), _ADMIN_TIMEOUT_S, metadata)
        except grpc.aio.AioRpcError as error:
            raise rpc_problem(to_rpc_error(error)) from None


class _FixedHeaders:
    """Adds the security headers to every response."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *self._headers]
                if b"cache-control" not in names:
                    message["headers"].append((b"cache-control", b"no-cache"))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _http_problem(request: Request, error: Exception) -> Response:
    """Turn an error of Starlette into a problem: an unknown path, or a method that a path does not take."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        return _problem(request, method_not_allowed("GET, HEAD"))
    return _problem(request, route_not_found(request.url.path))


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    call_id = request_id(dict(request.headers.raw))
    headers = {**error.headers, **_NOT_STORED, "x-request-id": call_id}
    return Response(error.body(call_id), error.status, headers, CONTENT_TYPE)
