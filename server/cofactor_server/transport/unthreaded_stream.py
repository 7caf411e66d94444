"""Send a stream of responses without a thread.

grpcio gives every stream of responses a thread until the stream ends. Its non-blocking variant needs no thread, but it
sends in the thread of whoever has a response: a client that reads nothing then blocks the sender, and with it all other
streams (grpc issue 43403). This module starts the sending and returns; grpcio's polling thread tells it when a message
is out.

grpcio has no public interface for this, so the module uses private parts of `grpc._server`. It checks them when it is
imported; if they have changed, AVAILABLE is False. When the version of grpcio changes, compare `_send_response`,
`_send_message` and `_possibly_finish_call` in grpc/_server.py with `_start` and `_on_sent`, and run
tests/server/transport/test_health.py.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

_server: Any = importlib.import_module("grpc._server")


def _is_as_expected() -> bool:
    """Return True if the private parts of grpcio are those that this module was written for."""

    def takes(name: str, *parameters: str) -> bool:
        return tuple(inspect.signature(getattr(_server, name)).parameters) == parameters

    try:
        return (
            takes("_possibly_finish_call", "state", "token")
            and takes("_get_initial_metadata_operation", "state", "metadata")
            and takes("_is_rpc_state_active", "state")
            and {"_SEND_MESSAGE_TOKEN", "_EMPTY_FLAGS"} <= vars(_server).keys()
            and {"due", "condition", "callbacks", "initial_metadata_allowed"} <= vars(_server._RPCState()).keys()
            and callable(_server.cygrpc.SendMessageOperation)
        )
    except (AttributeError, TypeError, ValueError):
        return False


AVAILABLE = _is_as_expected()


class UnthreadedStream:
    """Responses of a call that grpcio has handed over with its request; no method waits for the client."""

    def __init__(self, rpc_event: Any, state: Any) -> None:
        """Take what grpcio submits for the call."""
        self._call = rpc_event.call
        self._state = state
        self._is_sending = False
        self._next: bytes | None = None

    @property
    def peer(self) -> str:
        """Return the address of the client, with its port."""
        peer = self._call.peer()
        return peer.decode() if isinstance(peer, bytes) else str(peer)

    def on_end(self, callback: Callable[[], None]) -> bool:
        """Call `callback` when the call has ended; return False if it has ended already."""
        with self._state.condition:
            if self._state.callbacks is None:
                return False
            self._state.callbacks.append(callback)
            return True

    def send(self, message: bytes) -> None:
        """Send a message when the one before it is out; of several that wait, only the last is sent."""
        with self._state.condition:
            if self._is_sending:
                self._next = message
            elif _server._is_rpc_state_active(self._state):
                self._start(message)

    def end(self, code: int, details: str) -> None:
        """End the call with a status at once, also if the client reads nothing."""
        with self._state.condition:
            if _server._is_rpc_state_active(self._state):
                self._call.cancel(code, details)

    def _start(self, message: bytes) -> None:
        """Start to send a message; the caller holds the condition of the call."""
        operations = [_server.cygrpc.SendMessageOperation(message, _server._EMPTY_FLAGS)]
        if self._state.initial_metadata_allowed:
            operations.insert(0, _server._get_initial_metadata_operation(self._state, None))
            self._state.initial_metadata_allowed = False
        self._call.start_server_batch(tuple(operations), self._on_sent)
        self._state.due.add(_server._SEND_MESSAGE_TOKEN)
        self._is_sending = True

    def _on_sent(self, _event: Any) -> Any:
        """Run in grpcio's polling thread, when a message is out or the call has ended."""
        with self._state.condition:
            self._is_sending = False
            message, self._next = self._next, None
            finished = _server._possibly_finish_call(self._state, _server._SEND_MESSAGE_TOKEN)
            if message is not None and _server._is_rpc_state_active(self._state):
                self._start(message)
            return finished
