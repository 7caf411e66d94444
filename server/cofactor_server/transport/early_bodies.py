"""Receive the body of a call before the call gets a thread.

grpcio gives a call a thread as soon as its headers have come, and that thread waits for the body. A caller that sends
no body then occupies a thread for as long as it likes, and every call wakes a thread twice. This module has grpcio's
polling thread ask for the body, and queues the call when the body is there (docs/decisions/0008).

grpcio has no public interface for this, so the module uses private parts of `grpc._server`. It checks them when it is
imported. If they have changed, AVAILABLE is False and calls get their threads as grpcio gives them: the responses are
the same, but slower, and the protection against callers without bodies is gone.

When the version of grpcio changes:

1. Run tests/server/transport/test_early_bodies.py. `test_the_installed_grpcio_supports_early_bodies` fails if a name
   or a parameter that this module uses has changed. If all tests pass, go on with step 4.
2. Compare grpc/_server.py of both versions, in the order in which a call passes through it:
   - `_handle_with_method_handler`: holds `state.condition` during the next steps, and so while `receive` runs;
   - `_handle_unary_unary` and `_handle_unary_stream`: the arguments of `thread_pool.submit` (`_PARAMETERS`, `receive`);
   - `_unary_request`: the operation that asks for the body, the token in `state.due`, and the abort of a call that ends
     without a request (`receive` does all of this in its place);
   - `_receive_message`: stores the parsed body in `state.request` (`receive` calls it);
   - `_unary_response_in_pool` and `_stream_response_in_pool`: call the argument thunk first, and do nothing if it
     returns None.
3. Change `receive` to do what the new `_unary_request` does, and `_is_as_expected` to check what `receive` uses. The
   tests of step 1 prove it: callers without bodies, calls without a request, cancelled calls, large bodies.
4. Run tests/server/transport and `make test-faults`. Overload (T8, T10) and the soak test (T9) find calls that are lost
   or counted twice.
5. Measure the CPU time and the context switches per call, and compare them with docs/decisions/0008.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cofactor_server.transport.incoming_bodies import IncomingBodies
from cofactor_server.transport.thread_pools import CallPool

_server: Any = importlib.import_module("grpc._server")

# Arguments of submit(): a function of grpcio, and the arguments of that function.
Arguments = tuple[Any, ...]
_PARAMETERS = ("rpc_event", "state", "behavior", "argument_thunk", "request_deserializer", "response_serializer")
_ARGUMENT_THUNK = 1 + _PARAMETERS.index("argument_thunk")


def _is_as_expected() -> bool:
    """Return True if the private parts of grpcio are those that this module was written for."""

    def takes(name: str, *parameters: str) -> bool:
        return tuple(inspect.signature(getattr(_server, name)).parameters) == parameters

    try:
        return (
            takes("_unary_response_in_pool", *_PARAMETERS)
            and takes("_stream_response_in_pool", *_PARAMETERS)
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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusal of a call whose pool is full when its body comes.

    Attributes:
        behavior: function that gRPC runs instead of the method.
        pool: runs that function.
    """

    behavior: Callable[..., Any]
    pool: CallPool


def has_one_request(arguments: Arguments) -> bool:
    """Return True if these are the arguments of a call with exactly one request, whose thread would wait for it."""
    return (
        AVAILABLE
        and len(arguments) == 1 + len(_PARAMETERS)
        and arguments[_ARGUMENT_THUNK].__qualname__.startswith("_unary_request.")
    )


def skip(run: Callable[..., Any], arguments: Arguments, pool: CallPool) -> None:
    """Queue a call that is refused whatever its body is; nobody asks for that."""
    pool_function, rpc_event, state, behavior, _, _, serializer = arguments
    pool.enqueue(run, (pool_function, rpc_event, state, behavior, lambda: b"", None, serializer))


def receive(
    run: Callable[..., Any], arguments: Arguments, pool: CallPool, refusal: Refusal | None, bodies: IncomingBodies
) -> None:
    """Ask for the body of a call when `bodies` allows it, and queue the call when the body is there.

    Runs in grpcio's polling thread, and so does the queueing. A call that ends before its body comes is never queued.

    Args:
        run: function that the pool runs, with the arguments that follow.
        arguments: as grpcio passed them to submit().
        pool: runs the call.
        refusal: refuses the call if the pool is full when the body comes, or too many calls wait for their bodies;
            None: the call is queued all the same.
        bodies: limits the bodies that are under way.
    """
    pool_function, rpc_event, state, behavior, _, deserializer, serializer = arguments

    def take_request() -> Any:
        with state.condition:
            request, state.request = state.request, None
            # With None grpcio runs nothing: the caller has gone in the meantime.
            return request if _server._is_rpc_state_active(state) else None

    def on_received(event: Any) -> Any:
        bodies.end(state)
        n_bytes = len(_server._serialized_request(event) or b"")
        chosen_pool, chosen_behavior, parse = pool, behavior, deserializer
        if refusal is not None and not pool.has_room(n_bytes):
            chosen_pool, chosen_behavior, parse = refusal.pool, refusal.behavior, None
        result = _server._receive_message(state, rpc_event.call, parse)(event)
        if state.request is not None:
            in_pool = (pool_function, rpc_event, state, chosen_behavior, take_request, parse, serializer)
            chosen_pool.enqueue(run, in_pool, n_bytes)
            return result
        with state.condition:
            if state.client is _server._CLOSED and not state.statused:
                code = _server.cygrpc.StatusCode.unimplemented
                _server._abort(state, rpc_event.call, code, b"the method takes exactly one request message")
        return result

    def ask() -> None:
        operations = (_server.cygrpc.ReceiveMessageOperation(_server._EMPTY_FLAGS),)
        rpc_event.call.start_server_batch(operations, on_received)
        state.due.add(_server._RECEIVE_MESSAGE_TOKEN)

    def ask_if_active() -> bool:
        with state.condition:
            if not _server._is_rpc_state_active(state):
                return False
            ask()
            return True

    if bodies.begin(state, rpc_event.call):
        ask()  # grpcio holds state.condition
        return
    state.callbacks.append(lambda: bodies.end(state))  # the call may end before its turn comes
    if not bodies.wait(state, rpc_event.call, ask_if_active):
        refused = pool if refusal is None else refusal.pool
        skip(run, (*arguments[:3], refusal.behavior if refusal else arguments[3], *arguments[4:]), refused)
