"""Read requests and send responses over ASGI."""

from __future__ import annotations

import asyncio
import gzip
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from cofactor_web.problems import CONTENT_TYPE, Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HeaderMap = dict[bytes, bytes]
Metadata = tuple[tuple[str, str], ...]

REQUEST_ID = "x-request-id"
LONGEST_TIMEOUT_MS = 60_000
_PASSED_ON = ((b"authorization", "authorization"), (b"traceparent", "traceparent"), (b"tracestate", "tracestate"))
# gRPC takes printable ASCII in metadata.
_METADATA_VALUE = re.compile(rb"[ -~]{1,8192}")
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_TIMEOUT = re.compile(rb"[0-9]{1,9}")
# A body that is not complete by then is given up.
_BODY_TIMEOUT_S = 10.0
# Responses above this size are compressed for clients that accept it.
_GZIP_BYTES = 16 * 2**10


def request_id(headers: HeaderMap) -> str:
    """Return the request id of the caller if it is valid, or a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def call_metadata(headers: HeaderMap, call_id: str) -> Metadata:
    """Return the metadata of the call: the request id, and the token and trace headers of the request."""
    passed_on = [
        (key, headers[name].decode())
        for name, key in _PASSED_ON
        if name in headers and _METADATA_VALUE.fullmatch(headers[name])
    ]
    return ((REQUEST_ID, call_id), *passed_on)


def timeout_s(headers: HeaderMap, default: float) -> float:
    """Return the deadline of a call in seconds, from the header X-Timeout-Ms. Raises Problem if it is not valid."""
    given = headers.get(b"x-timeout-ms")
    if given is None:
        return default
    if not _TIMEOUT.fullmatch(given) or not 1 <= int(given) <= LONGEST_TIMEOUT_MS:
        problem = f"must be a whole number of milliseconds from 1 to {LONGEST_TIMEOUT_MS}"
        raise Problem(400, "INVALID_FIELD", f"X-Timeout-Ms: {problem}", violations=(("X-Timeout-Ms", problem),))
    return int(given) / 1000


async def read_body(receive: Receive, headers: HeaderMap, limit: int) -> bytes:
    """Return the body of a request. Raises Problem if it is too large or late, ClientGone if the client hangs up."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    body, is_complete = await _receive_part(receive)
    if is_complete:
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await _read_rest(receive, body, limit)
    except TimeoutError:
        raise Problem(408, "BODY_LATE", f"the body was not complete after {_BODY_TIMEOUT_S:g} s") from None


class ClientGone(Exception):  # noqa: N818 (an event, not an error)
    """The client closed the connection before it had its response."""


async def _read_rest(receive: Receive, first: bytes, limit: int) -> bytes:
    parts, size, is_complete = [first], len(first), False
    while not is_complete:
        if size > limit:
            raise _too_large(limit)
        part, is_complete = await _receive_part(receive)
        parts.append(part)
        size += len(part)
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


async def _receive_part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), not message.get("more_body", False)


def _too_large(limit: int) -> Problem:
    # The connection ends here: the rest of the body would have to be read otherwise.
    return Problem(
        413, "BODY_TOO_LARGE", f"the body is larger than {limit} bytes; send less", headers={"connection": "close"}
    )


async def send_json(send: Send, headers: HeaderMap, body: bytes, call_id: str) -> None:
    """Send the response of a call, compressed if it is long and the client accepts that."""
    more: list[tuple[bytes, bytes]] = []
    if len(body) > _GZIP_BYTES:
        more.append((b"vary", b"accept-encoding"))
        if b"gzip" in headers.get(b"accept-encoding", b""):
            body = await asyncio.to_thread(gzip.compress, body, 1)
            more.append((b"content-encoding", b"gzip"))
    await _send(send, 200, b"application/json", body, call_id, more)


async def send_problem(send: Send, problem: Problem, call_id: str) -> None:
    """Send a problem."""
    more = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    await _send(send, problem.status, CONTENT_TYPE.encode(), problem.body(call_id), call_id, more)


async def _send(
    send: Send, status: int, content_type: bytes, body: bytes, call_id: str, more: Iterable[tuple[bytes, bytes]]
) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", call_id.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
