"""A call is handed over when its body is there.

grpcio gives a call a thread as soon as its headers have come, and the thread waits for the body: a caller that sends
none holds the thread for as long as it likes, and every call wakes a thread twice. Here the body is asked for by
the thread that polls, and the call is handed over with it.

grpcio has no public way to say so. What is used of its private parts is looked at when this module is loaded; where
they have changed, calls are handed over as grpcio does.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

_server: Any = importlib.import_module("grpc._server")

# What a pool is asked to run: a function of grpcio, and what that takes.
Arguments = tuple[Any, ...]
_ARGUMENTS = ("rpc_event", "state", "behavior", "argument_thunk", "request_deserializer", "response_serializer")
_REQUEST = 1 + _ARGUMENTS.index("argument_thunk")


def _is_as_expected() -> bool:
    def takes(name: str, *parameters: str) -> bool:
        return tuple(inspect.signature(getattr(_server, name)).parameters) == parameters

    try:
        return (
            takes("_unary_response_in_pool", *_ARGUMENTS)
            and takes("_stream_response_in_pool", *_ARGUMENTS)
            and takes("_unary_request", "rpc_event", "state", "request_deserializer")
            and takes("_receive_message", "state", "call", "request_deserializer")
            and takes("_serialized_request", "request_event")
            and takes("_abort", "state", "call", "code", "details")
            and takes("_is_rpc_state_active", "state")
            and {"_RECEIVE_MESSAGE_TOKEN", "_EMPTY_FLAGS", "_CLOSED"} <= vars(_server).keys()
            and {"request", "client", "statused", "due", "condition"} <= vars(_server._RPCState()).keys()
            and callable(_server.cygrpc.ReceiveMessageOperation)
        )
    except (AttributeError, TypeError, ValueError):
        return False


AVAILABLE = _is_as_expected()


def comes_in_one_message(arguments: Arguments) -> bool:
    """Whether this is a call with one request message, whose thread would wait for it."""
    return (
        AVAILABLE
        and len(arguments) == 1 + len(_ARGUMENTS)
        and arguments[_REQUEST].__qualname__.startswith("_unary_request.")
    )


def receive(
    arguments: Arguments,
    refusal_of: Callable[[Any, int], Any],
    hand_over: Callable[[Arguments, int, Any], None],
) -> None:
    """Asks for a call's body; runs in the thread that polls, which then calls `hand_over`.

    Args:
        arguments: what the pool is to run.
        refusal_of: asked with the call's behavior and the bytes of its body: what is to answer instead, or None.
        hand_over: told what to run, those bytes and that refusal. Not called for a call that ends before its body
            comes.
    """
    pool_function, rpc_event, state, behavior, _, deserializer, serializer = arguments

    def request() -> Any:
        with state.condition:
            message, state.request = state.request, None
            # Nothing is run for a caller that has gone meanwhile.
            return message if _server._is_rpc_state_active(state) else None

    def received(event: Any) -> Any:
        n_bytes = len(_server._serialized_request(event) or b"")
        refusal = refusal_of(behavior, n_bytes)
        chosen, parse = (behavior, deserializer) if refusal is None else (refusal, None)
        result = _server._receive_message(state, rpc_event.call, parse)(event)
        if state.request is not None:
            hand_over((pool_function, rpc_event, state, chosen, request, parse, serializer), n_bytes, refusal)
            return result
        with state.condition:
            if state.client is _server._CLOSED and not state.statused:
                code = _server.cygrpc.StatusCode.unimplemented
                _server._abort(state, rpc_event.call, code, b"the method takes exactly one request message")
        return result

    rpc_event.call.start_server_batch((_server.cygrpc.ReceiveMessageOperation(_server._EMPTY_FLAGS),), received)
    state.due.add(_server._RECEIVE_MESSAGE_TOKEN)
