"""The one interceptor: admission, deadlines, malformed bodies, and the mapping of errors to statuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from cofactor_server.errors import DeadlineExceeded, InternalError, MalformedRequest, QueueFull, RequestError
from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.logs import CURRENT_CALL
from cofactor_server.observability.request_ids import request_id
from cofactor_server.security.access_control import AccessControl
from cofactor_server.transport.request_coalescing import CoalescedMethod, CoalescingQueue, PendingCall
from cofactor_server.transport.rich_status import abort
from cofactor_server.transport.thread_pools import BoundedPool

_LOGGER = logging.getLogger(__name__)

OUR_METHODS = ("/cofactor.v1.", "/cofactor.admin.v1.", "/inference.")
RETRY_AFTER_S = 0.5

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behavior = Callable[[Any, grpc.ServicerContext], Any]
Parse = Callable[[bytes], Any]


class RequestInterceptor(grpc.ServerInterceptor):
    """Wraps every handler of this API once, and answers calls over the limit itself.

    Health and reflection run in their own small pools, and so do refusals: they answer however busy the server is.
    """

    def __init__(
        self,
        calls: BoundedPool,
        streams: BoundedPool,
        control: BoundedPool,
        watches: BoundedPool,
        refusals: BoundedPool,
        guard: AccessControl,
        metrics: Metrics,
        joint: Mapping[str, CoalescedMethod] | None = None,
    ) -> None:
        """`joint`: by full method, the unary ones whose calls may be answered together."""
        self._calls = calls
        self._streams = streams
        self._control = control
        self._watches = watches
        self._refusals = refusals
        self._guard = guard
        self._metrics = metrics
        self._joint = joint or {}
        self._handlers: dict[str, tuple[Handler, Handler, BoundedPool]] = {}

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
        handler, busy, pool = known
        return busy if pool.is_full else handler

    def _wrap(self, method: str, handler: Handler) -> tuple[Handler, Handler, BoundedPool]:
        """The handler, what answers in its place when its pool is full, and its pool."""
        refuse = _refusing(_Call(method, self._guard, self._metrics), handler.response_streaming)
        refusal = _in_pool(refuse, self._refusals)
        busy = _with_behavior(handler, refusal, None)
        if not method.startswith(OUR_METHODS):
            pool = self._watches if handler.response_streaming else self._control
            admitted = _admitting(method, self._guard, _behavior(handler), handler.response_streaming)
            return _with_behavior(handler, _in_pool(admitted, pool, refusal), handler.request_deserializer), busy, pool
        pool = self._streams if handler.response_streaming else self._calls
        call = _Call(method, self._guard, self._metrics)
        assert handler.request_deserializer is not None
        parse = _parser(handler.request_deserializer)
        # The body is parsed by `answer`: not before the caller is admitted, and a malformed one is not INTERNAL.
        joint = self._joint.get(method)
        if joint is not None and not self._guard.is_needed:
            arrivals = CoalescingQueue(parse, joint)
            answered = _answer_arrived(call, arrivals, parse, _behavior(handler))
            return _with_behavior(handler, _in_pool(answered, pool, refusal), arrivals.add), busy, pool
        answer = _answer_stream if handler.response_streaming else _answer
        behavior = _in_pool(answer(call, parse, _behavior(handler)), pool, refusal)
        return _with_behavior(handler, behavior, None), busy, pool


class _Call:
    """What every call of one method goes through besides its handler."""

    def __init__(self, method: str, guard: AccessControl, metrics: Metrics) -> None:
        self._method = method
        self._name = method.rpartition("/")[2]
        self._admit = guard.admit if guard.is_needed else None
        self._record = metrics.record
        self._record_batch = metrics.record_batch

    def begin(self, context: grpc.ServicerContext) -> None:
        """Raises the error of a caller that is not admitted, or whose deadline has passed."""
        CURRENT_CALL.context = context
        if self._admit is not None:
            self._admit(self._method, context)
        remaining = context.time_remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded

    def end(self, code: str) -> None:
        """Counts the call."""
        CURRENT_CALL.context = None
        timing = CALL_TIMING
        self._record(self._name, code, timing.queue_s, timing.compute_s, time.perf_counter() - timing.arrived)
        if timing.batch_size:
            self._record_batch(timing.batch_size)


def _behavior(handler: Handler) -> Behavior:
    found = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert found is not None
    return found


def _with_behavior(handler: Handler, behavior: Behavior, parse: Parse | None) -> Handler:
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(behavior, parse, _serializer(handler.response_serializer))


def _serializer(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """Lets answers through that are bytes already."""
    if serialize is None:
        return None
    return lambda answer: answer if type(answer) is bytes else serialize(answer)


def _in_pool(behavior: Behavior, pool: BoundedPool, refusal: Behavior | None = None) -> Behavior:
    """A function of its own that gRPC runs in this pool; `refusal` in its place where that is full by then."""

    def run(request: Any, context: grpc.ServicerContext) -> Any:
        return behavior(request, context)

    run.experimental_thread_pool = pool  # type: ignore[attr-defined]
    run.refusal = refusal  # type: ignore[attr-defined]
    return run


def _parser(parse: Parse) -> Parse:
    """Raises MalformedRequest for a body that is not the request message."""
    descriptor = getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None)
    message_name = descriptor.name if descriptor is not None else "request"

    def parse_or_refuse(body: bytes) -> Any:
        try:
            return parse(body)
        except DecodeError:
            raise MalformedRequest(message_name) from None

    return parse_or_refuse


def _answer(call: _Call, parse: Parse, behavior: Behavior) -> Behavior:
    def answer(body: bytes, context: grpc.ServicerContext) -> Any:
        code = "OK"
        try:
            call.begin(context)
            return behavior(parse(body), context)
        except Exception as error:
            code = _code_of(error, context)
            return _fail(context, error)
        finally:
            call.end(code)

    return answer


def _answer_arrived(call: _Call, arrivals: CoalescingQueue, parse: Parse, behavior: Behavior) -> Behavior:
    """As `_answer`, for calls that may be answered together with others."""

    def answer(arrival: PendingCall, context: grpc.ServicerContext) -> Any:
        code = "OK"
        try:
            call.begin(context)
            answered = arrivals.answer(arrival)
            return behavior(parse(arrival.body), context) if answered is None else answered
        except Exception as error:
            arrivals.withdraw(arrival)
            code = _code_of(error, context)
            return _fail(context, error)
        finally:
            call.end(code)

    return answer


def _answer_stream(call: _Call, parse: Parse, behavior: Behavior) -> Behavior:
    def answer(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        code = "OK"
        try:
            call.begin(context)
            yield from behavior(map(parse, bodies), context)
            if not context.is_active():  # the requests ended because the caller left
                code = "CANCELLED"
        except GeneratorExit:  # the caller left while an answer was on its way
            code = "CANCELLED"
            raise
        except Exception as error:
            code = _code_of(error, context)
            _fail(context, error)
        finally:
            call.end(code)

    return answer


def _admitting(method: str, guard: AccessControl, behavior: Behavior, streams: bool) -> Behavior:
    """Health and reflection: admitted or not, and otherwise left alone."""
    if not guard.is_needed:
        return behavior

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            guard.admit(method, context)
        except RequestError as error:
            return _fail(context, error)
        return behavior(request, context)

    def answer_stream(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from answer(requests, context)

    return answer_stream if streams else answer


def _refusing(call: _Call, streams: bool) -> Behavior:
    """Answers that the server is full."""

    def refuse(_body: Any, context: grpc.ServicerContext) -> bytes:
        call.end("RESOURCE_EXHAUSTED")
        return _fail(context, QueueFull(RETRY_AFTER_S))

    def refuse_stream(bodies: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        refuse(bodies, context)
        yield from ()

    return refuse_stream if streams else refuse


def _code_of(error: Exception, context: grpc.ServicerContext) -> str:
    if not context.is_active():
        return "CANCELLED"
    return error.code if isinstance(error, RequestError) else InternalError.code


def _fail(context: grpc.ServicerContext, error: Exception) -> bytes:
    """Ends the call with the error. Returns only where the caller is gone: an answer that nobody gets."""
    if not context.is_active():
        return b""  # what was raised is how the transport told us
    name = request_id(context.invocation_metadata())
    if not isinstance(error, RequestError):
        _LOGGER.error("internal error, request %s", name, exc_info=error, extra={"request_id": name})
        error = InternalError()
    abort(context, error, name)
    return b""
