"""Build the functions that gRPC runs for the calls of a method."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from cofactor_server.errors import DeadlineExceeded, InternalError, MalformedRequest, QueueFull, RequestError
from cofactor_server.observability.call_timing import CALL_TIMING
from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.logs import CURRENT_CALL
from cofactor_server.observability.request_ids import request_id
from cofactor_server.security.access_control import AccessControl
from cofactor_server.transport.metering import paced
from cofactor_server.transport.method_executor import MethodExecutor
from cofactor_server.transport.request_coalescing import CoalescingQueue, PendingCall
from cofactor_server.transport.rich_status import abort

_LOGGER = logging.getLogger(__name__)

RETRY_AFTER_S = 0.5

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# gRPC's name for the function that answers a call.
Behavior = Callable[[Any, grpc.ServicerContext], Any]
Parse = Callable[[bytes], Any]


class CallLifecycle:
    """Steps before and after every call of one method: admission, deadline, metrics."""

    def __init__(self, method: str, access_control: AccessControl, metrics: Metrics) -> None:
        self._method = method
        self._name = method.rpartition("/")[2]
        self._access_control = access_control
        self._admit = access_control.admit if access_control.is_needed else None
        self._record = metrics.record
        self._record_batch = metrics.record_batch

    def begin(self, context: grpc.ServicerContext) -> str:
        """Return the name that the rate limit knows the caller by, "" without one.

        Raises the error of a caller that is not admitted, or DeadlineExceeded.
        """
        CURRENT_CALL.context = context
        client = self._admit(self._method, context) if self._admit is not None else ""
        remaining = context.time_remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded
        return client

    def charge(self, client: str, n_requests: int) -> None:
        """Count requests of a call beyond the first."""
        if n_requests > 0:
            self._access_control.charge(client, n_requests)

    def paced(self, bodies: Iterator[bytes], client: str, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Return the messages of a stream, held to the rate limit."""
        if not self._access_control.is_metered:
            return bodies
        return paced(bodies, lambda: self._access_control.acquire(client), context.is_active)

    def end(self, code: str) -> None:
        """Count the call under the name of its gRPC code."""
        CURRENT_CALL.context = None
        timing = CALL_TIMING
        self._record(self._name, code, timing.queue_s, timing.compute_s, time.perf_counter() - timing.arrived)
        if timing.batch_size:
            self._record_batch(timing.batch_size)


def make_parser(deserialize: Parse) -> Parse:
    """Return a function that parses a body, and raises MalformedRequest if it is not the method's request message."""
    descriptor = getattr(getattr(deserialize, "__self__", None), "DESCRIPTOR", None)
    message_name = descriptor.name if descriptor is not None else "request"

    def parse(body: bytes) -> Any:
        try:
            return deserialize(body)
        except DecodeError:
            raise MalformedRequest(message_name) from None

    return parse


def metered_behavior(
    lifecycle: CallLifecycle, parse: Parse, behavior: Behavior, cost: Callable[[Any], int]
) -> Behavior:
    """Return a behavior like that of unary_behavior(); the rate limit counts a call as `cost` of its request."""

    def answer(body: bytes, context: grpc.ServicerContext) -> Any:
        code = "OK"
        try:
            client = lifecycle.begin(context)
            request = parse(body)
            lifecycle.charge(client, cost(request) - 1)
            return behavior(request, context)
        except Exception as error:
            code = _code_of(error, context)
            return _fail(context, error)
        finally:
            lifecycle.end(code)

    return answer


def unary_behavior(lifecycle: CallLifecycle, parse: Parse, behavior: Behavior) -> Behavior:
    """Return a behavior that answers calls with one response."""

    def answer(body: bytes, context: grpc.ServicerContext) -> Any:
        code = "OK"
        try:
            lifecycle.begin(context)
            return behavior(parse(body), context)
        except Exception as error:
            code = _code_of(error, context)
            return _fail(context, error)
        finally:
            lifecycle.end(code)

    return answer


def coalesced_behavior(lifecycle: CallLifecycle, queue: CoalescingQueue, parse: Parse, behavior: Behavior) -> Behavior:
    """Return a behavior that answers calls with one response, in batches of those that have arrived."""

    def answer(call: PendingCall, context: grpc.ServicerContext) -> Any:
        code = "OK"
        try:
            lifecycle.begin(context)
            response = queue.get_response(call)
            return behavior(parse(call.body), context) if response is None else response
        except Exception as error:
            queue.remove(call)
            code = _code_of(error, context)
            return _fail(context, error)
        finally:
            lifecycle.end(code)

    return answer


def streaming_behavior(lifecycle: CallLifecycle, parse: Parse, behavior: Behavior) -> Behavior:
    """Return a behavior that answers calls with a stream of responses."""

    def answer(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        code = "OK"
        try:
            client = lifecycle.begin(context)
            yield from behavior(map(parse, lifecycle.paced(bodies, client, context)), context)
            if not context.is_active():  # the requests ended because the caller has gone
                code = "CANCELLED"
        except GeneratorExit:  # the caller went while a response was on its way
            code = "CANCELLED"
            raise
        except Exception as error:
            code = _code_of(error, context)
            _fail(context, error)
        finally:
            lifecycle.end(code)

    return answer


def control_behavior(method: str, access_control: AccessControl, behavior: Behavior, streams: bool) -> Behavior:
    """Return a behavior for gRPC's own services: it admits the caller, and leaves the rest to the service."""

    def pass_on(request: Any, context: grpc.ServicerContext) -> Any:
        return behavior(request, context)

    def admit(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            access_control.admit(method, context)
        except RequestError as error:
            return _fail(context, error)
        return behavior(request, context)

    def admit_stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from admit(request, context)

    if not access_control.is_needed:
        return pass_on
    return admit_stream if streams else admit


def refusing_behavior(lifecycle: CallLifecycle, streams: bool) -> Behavior:
    """Return a behavior that answers RESOURCE_EXHAUSTED."""

    def refuse(_body: Any, context: grpc.ServicerContext) -> bytes:
        lifecycle.end("RESOURCE_EXHAUSTED")
        return _fail(context, QueueFull(RETRY_AFTER_S))

    def refuse_stream(bodies: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        refuse(bodies, context)
        yield from ()

    return refuse_stream if streams else refuse


def behavior_of(handler: Handler) -> Behavior:
    """Return the function that answers the calls of a handler."""
    found = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert found is not None
    return found


def make_handler(original: Handler, behavior: Behavior, executor: MethodExecutor, parse: Parse | None) -> Handler:
    """Return a handler like `original`, with another behavior.

    Args:
        original: handler of the servicer.
        behavior: takes what `parse` returns.
        executor: gets the calls from gRPC.
        parse: gRPC calls it with the body, in its polling thread; None: `behavior` takes the body.
    """
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[original.request_streaming, original.response_streaming]
    # grpcio looks for the executor of a method in this attribute and nowhere else. This is the only place that sets it;
    # the tracing interceptor copies it to the behavior that it puts around this one.
    behavior.experimental_thread_pool = executor  # type: ignore[attr-defined]
    return make(behavior, parse, _serializer(original.response_serializer))


def _serializer(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """Return a serializer that lets responses pass that are encoded already."""
    if serialize is None:
        return None
    return lambda response: response if type(response) is bytes else serialize(response)


def _code_of(error: Exception, context: grpc.ServicerContext) -> str:
    if not context.is_active():
        return "CANCELLED"
    return error.code if isinstance(error, RequestError) else InternalError.code


def _fail(context: grpc.ServicerContext, error: Exception) -> bytes:
    """End the call with the error; return only if the caller has gone, with a response that nobody gets."""
    if not context.is_active():
        return b""  # gRPC reports a caller that has gone by such an error
    name = request_id(context.invocation_metadata())
    if not isinstance(error, RequestError):
        _LOGGER.error("internal error, request %s", name, exc_info=error, extra={"request_id": name})
        error = InternalError()
    abort(context, error, name)
    return b""
