"""Serve bare echoes: the cost of a gRPC front for Python when the handler does nothing.

Every front responds to Recommend with a constant of the size of a real response, and to StreamRecommend with the id of
the request and that constant. Messages stay bytes and protobuf is not parsed, so no real server can be cheaper.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

RECOMMEND = "/cofactor.v1.RecommenderService/Recommend"
STREAM = "/cofactor.v1.RecommenderService/StreamRecommend"
ID_BYTES = 6
"""Length of a request id as the load driver encodes it: a tag, a length and four letters."""


def stream_field(response: bytes) -> bytes:
    """Encode field 2 of StreamRecommendResponse for a constant of 128 to 16,383 bytes."""
    return bytes([2 << 3 | 2, len(response) & 127 | 128, len(response) >> 7]) + response


def handlers(unary: Callable[..., Any], stream: Callable[..., Any]) -> dict[str, grpc.RpcMethodHandler]:
    """Return handlers of raw bytes for the two methods."""
    return {
        "Recommend": grpc.unary_unary_rpc_method_handler(unary),
        "StreamRecommend": grpc.stream_stream_rpc_method_handler(stream),
    }


def sync_handlers(response: bytes) -> dict[str, grpc.RpcMethodHandler]:
    """Return handlers for servers with threads."""
    framed = stream_field(response)

    def stream(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield request[:ID_BYTES] + framed

    return handlers(lambda _request, _context: response, stream)


def aio_handlers(response: bytes) -> dict[str, grpc.RpcMethodHandler]:
    """Return handlers for servers on an event loop."""
    framed = stream_field(response)

    async def unary(_request: bytes, _context: object) -> bytes:
        return response

    async def stream(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request[:ID_BYTES] + framed

    return handlers(unary, stream)


def register(server: Any, methods: dict[str, grpc.RpcMethodHandler]) -> None:
    """Register the methods as generated code does."""
    name = "cofactor.v1.RecommenderService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    if hasattr(server, "add_registered_method_handlers"):
        server.add_registered_method_handlers(name, methods)


def serve_sync(make_server: Callable[..., Any], port: int, response: bytes, options: list[tuple[str, int]]) -> None:
    """Serve with grpc.server or a replacement for it."""
    server = make_server(futures.ThreadPoolExecutor(16), options=options)
    register(server, sync_handlers(response))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


async def serve_aio(
    make_server: Callable[..., Any], port: int, response: bytes, options: list[tuple[str, int]]
) -> None:
    """Serve with grpc.aio.server or a replacement for it."""
    server = make_server(options=options)
    register(server, aio_handlers(response))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def serve_native_events(port: int, response: bytes) -> None:
    """Serve with pygrpc-native's events: Python takes all waiting calls at once and responds to each by its number."""
    from pygrpc_native import EVENT_CALL, NativeGrpcFront

    front = NativeGrpcFront(f"127.0.0.1:{port}", [(RECOMMEND, False)])
    front.start()

    def serve() -> None:
        while (events := front.recv_batch(64)) is not None:
            for kind, call_id, _method, _payload, _client in events:
                if kind == EVENT_CALL:
                    front.respond(call_id, response)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("front", choices=["sync", "aio", "aio-uvloop", "native-sync", "native-aio", "native-events"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--response", type=Path, required=True, help="file with the serialised response to every call")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=INTEGER", help="a channel argument")
    arguments = parser.parse_args()
    response = arguments.response.read_bytes()
    options = [(name, int(value)) for name, _, value in (text.partition("=") for text in arguments.option)]
    if arguments.front == "sync":
        serve_sync(grpc.server, arguments.port, response, options)
    elif arguments.front == "native-sync":
        import pygrpc_native

        serve_sync(pygrpc_native.server, arguments.port, response, options)
    elif arguments.front == "native-events":
        serve_native_events(arguments.port, response)
    elif arguments.front == "native-aio":
        import pygrpc_native.aio

        asyncio.run(serve_aio(pygrpc_native.aio.server, arguments.port, response, options))
    else:
        factory = None
        if arguments.front == "aio-uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve_aio(grpc.aio.server, arguments.port, response, options))


if __name__ == "__main__":
    main()
