"""The bare echo as an ASGI application that speaks gRPC itself, for servers of HTTP/2 with trailers (pyvoy: Envoy).

Framing is one byte (not compressed) and four of length; the status is a trailer.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ANSWER = Path(os.environ["ANSWER"]).read_bytes()
BODY = b"\0" + len(ANSWER).to_bytes(4, "big") + ANSWER
HEADERS = [(b"content-type", b"application/grpc+proto"), (b"trailer", b"grpc-status")]


async def application(
    _scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Read the request to its end, and answer with the constant."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})
    await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False})
