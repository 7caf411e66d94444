"""Serve an RPC as JSON: decode the body, call the server, encode the response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio
import orjson

from cofactor_client.aio import to_rpc_error
from cofactor_web.grpc_server import GrpcServer
from cofactor_web.http_messages import (
    ClientGone,
    HeaderMap,
    Receive,
    Scope,
    Send,
    call_metadata,
    read_body,
    request_id,
    send_json,
    send_problem,
    timeout_s,
)
from cofactor_web.json_decoding import FieldError
from cofactor_web.problems import Problem, malformed, method_not_allowed, rpc_problem
from cofactor_web.rpcs import Rpc
from cofactor_web.settings import GatewaySettings

# A call that takes longer is cancelled if its client hangs up. To watch the client costs a task, 10 % of a short call.
_WATCHED_AFTER_S = 0.01


class RpcEndpoint:
    """ASGI application of one RPC."""

    def __init__(
        self, rpc: Rpc, server: Callable[[], GrpcServer], settings: GatewaySettings, *, needs_content_type: bool
    ) -> None:
        """Make the endpoint.

        Args:
            rpc: the RPC.
            server: returns the server of the running event loop.
            settings: settings of the gateway.
            needs_content_type: True to refuse an empty body without Content-Type, too. No page of another site can send
                one with application/json, unless the gateway allowed it.
        """
        self._rpc = rpc
        self._server = server
        self._timeout_s = settings.timeout_s
        self._max_body_bytes = settings.max_body_bytes
        self._needs_content_type = needs_content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers: HeaderMap = dict(scope["headers"])
        call_id = request_id(headers)
        try:
            if scope["method"] != "POST":
                raise method_not_allowed("POST")
            request = self._parse(headers, await read_body(receive, headers, self._max_body_bytes))
            call = self._server().start_call(
                self._rpc, request, timeout_s(headers, self._timeout_s), call_metadata(headers, call_id)
            )
            response = await _response(call, receive)
        except ClientGone:
            return
        except Problem as problem:
            await send_problem(send, problem, call_id)
            return
        await send_json(send, headers, orjson.dumps(self._rpc.encode(response)), call_id)

    def _parse(self, headers: HeaderMap, body: bytes) -> Any:
        """Return the request message. Raises Problem."""
        if body or self._needs_content_type:
            _check_content_type(headers.get(b"content-type", b""))
        request = self._rpc.request_class()
        if not body:
            return request
        try:
            self._rpc.decode(request, orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise malformed(FieldError(f"is not JSON: {error}")) from None
        except FieldError as error:
            raise malformed(error) from None
        return request


async def _response(call: Any, receive: Receive) -> Any:
    """Return the response of a call. Raises Problem if it failed, and ClientGone if the client hung up before."""
    watch: list[asyncio.Task[None]] = []

    async def cancel_when_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        call.cancel()

    loop = asyncio.get_running_loop()
    timer = loop.call_later(_WATCHED_AFTER_S, lambda: watch.append(loop.create_task(cancel_when_gone())))
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise rpc_problem(to_rpc_error(error)) from None
    except asyncio.CancelledError:
        if not (watch and watch[0].done()):
            raise  # the gateway stops
        raise ClientGone from None
    finally:
        timer.cancel()
        for task in watch:
            task.cancel()


def _check_content_type(value: bytes) -> None:
    media_type = value.partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise Problem(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "the body must be JSON; send Content-Type: application/json",
            headers={"accept": "application/json"},
        )
