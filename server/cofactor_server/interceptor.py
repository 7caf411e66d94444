"""The one interceptor: admission, deadlines, malformed bodies, and the mapping of errors to statuses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from cofactor_server.admission import BoundedPool
from cofactor_server.errors import DeadlineExceeded, InternalError, MalformedRequest, QueueFull, RequestError
from cofactor_server.status import abort, request_id

_LOGGER = logging.getLogger(__name__)

OUR_METHODS = "/cofactor.v1."
RETRY_AFTER_S = 0.5

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behavior = Callable[[Any, grpc.ServicerContext], Any]


class Malformed:
    """Stands for a body that is not the request message."""

    def __init__(self, message_name: str) -> None:
        self.message_name = message_name


class RequestInterceptor(grpc.ServerInterceptor):
    """Wraps every handler of this API once, and answers calls over the limit itself.

    Health and reflection run in their own small pools, so that they answer however busy the server is.
    """

    def __init__(self, calls: BoundedPool, streams: BoundedPool, control: BoundedPool, watches: BoundedPool) -> None:
        self._calls = calls
        self._streams = streams
        self._control = control
        self._watches = watches
        self._handlers: dict[str, tuple[Handler, BoundedPool]] = {}
        self._busy_unary: Handler = grpc.unary_unary_rpc_method_handler(_in_pool(_refuse, control))
        self._busy_stream: Handler = grpc.stream_stream_rpc_method_handler(_in_pool(_refuse_stream, control))

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler of a call; runs in gRPC's polling thread, just before the call is queued."""
        known = self._handlers.get(handler_call_details.method)
        if known is None:
            handler = continuation(handler_call_details)
            if handler is None:
                return None
            known = self._handlers[handler_call_details.method] = self._wrap(handler_call_details.method, handler)
        handler, pool = known
        if pool.is_full:
            return self._busy_stream if handler.response_streaming else self._busy_unary
        return handler

    def _wrap(self, method: str, handler: Handler) -> tuple[Handler, BoundedPool]:
        if not method.startswith(OUR_METHODS):
            pool = self._watches if handler.response_streaming else self._control
            return _with_behavior(handler, _in_pool(_behavior(handler), pool)), pool
        pool = self._streams if handler.response_streaming else self._calls
        answer = _answer_stream if handler.response_streaming else _answer
        wrapped = _with_behavior(handler, _in_pool(answer(_behavior(handler)), pool))
        return wrapped._replace(request_deserializer=_tolerant(handler.request_deserializer)), pool  # type: ignore[attr-defined]


def _behavior(handler: Handler) -> Behavior:
    found = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert found is not None
    return found


def _with_behavior(handler: Handler, behavior: Behavior) -> Handler:
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(behavior, handler.request_deserializer, handler.response_serializer)


def _in_pool(behavior: Behavior, pool: BoundedPool) -> Behavior:
    """A function of its own that gRPC runs in this pool."""

    def run(request: Any, context: grpc.ServicerContext) -> Any:
        return behavior(request, context)

    run.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return run


def _tolerant(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """GRPC would answer INTERNAL to a body that does not parse; this one lets the handler answer for it."""
    assert parse is not None
    message_name = getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None)
    malformed = Malformed(message_name.name if message_name is not None else "request")

    def parse_or_mark(body: bytes) -> Any:
        try:
            return parse(body)
        except DecodeError:
            return malformed

    return parse_or_mark


def _answer(behavior: Behavior) -> Behavior:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            _check(request, context)
            return behavior(request, context)
        except Exception as error:
            return _fail(context, error)

    return answer


def _answer_stream(behavior: Behavior) -> Behavior:
    def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behavior(_checked(requests, context), context)
        except Exception as error:
            _fail(context, error)

    return answer


def _check(request: Any, context: grpc.ServicerContext) -> None:
    if isinstance(request, Malformed):
        raise MalformedRequest(request.message_name)
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineExceeded


def _checked(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    for request in requests:
        _check(request, context)
        yield request


def _fail(context: grpc.ServicerContext, error: Exception) -> None:
    if not context.is_active():
        return  # the caller is gone; what was raised is how the transport told us
    name = request_id(context.invocation_metadata())
    if not isinstance(error, RequestError):
        _LOGGER.error("internal error, request %s", name, exc_info=error)
        error = InternalError()
    abort(context, error, name)


def _refuse(_request: Any, context: grpc.ServicerContext) -> None:
    _fail(context, QueueFull(RETRY_AFTER_S))


def _refuse_stream(_requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    _fail(context, QueueFull(RETRY_AFTER_S))
    yield from ()
