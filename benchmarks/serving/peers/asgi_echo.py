"""Serve the bare echo as an ASGI application that speaks gRPC itself, for HTTP/2 servers with trailers (pyvoy: Envoy).

A gRPC frame has one byte for compression (0: none) and four for the length; the status is a trailer.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

RESPONSE = Path(os.environ["RESPONSE"]).read_bytes()
BODY = b"\0" + len(RESPONSE).to_bytes(4, "big") + RESPONSE
HEADERS = [(b"content-type", b"application/grpc+proto"), (b"trailer", b"grpc-status")]


async def application(
    _scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Read the whole request and send the constant response."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})
    await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False})
