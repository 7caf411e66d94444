"""Decide how the calls of every method are handled, in the interceptor between gRPC and the servicers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from cofactor_server.observability.counters import Metrics
from cofactor_server.security.access_control import AccessControl
from cofactor_server.transport.early_bodies import Refusal
from cofactor_server.transport.method_executor import MethodExecutor
from cofactor_server.transport.method_handlers import (
    CallLifecycle,
    Handler,
    behavior_of,
    coalesced_behavior,
    control_behavior,
    make_handler,
    make_parser,
    metered_behavior,
    refusing_behavior,
    streaming_behavior,
    unary_behavior,
)
from cofactor_server.transport.request_coalescing import CoalescedMethod, CoalescingQueue
from cofactor_server.transport.thread_pools import CallPool, ThreadPools

# Methods with these prefixes are the API; all others belong to gRPC's own services, such as health and reflection.
API_PREFIXES = ("/cofactor.v1.", "/cofactor.admin.v1.", "/inference.")


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """Handling of the calls of one method.

    Attributes:
        pool: takes the calls.
        handler: answers a call, in that pool.
        when_full: answers RESOURCE_EXHAUSTED instead when the pool is full, in the pool for refusals.
    """

    pool: CallPool
    handler: Handler
    when_full: Handler


@dataclass(frozen=True, slots=True)
class SpecialMethods:
    """Methods that are handled in a way of their own, by full name.

    Attributes:
        coalesced: methods whose calls may be coalesced.
        unthreaded: methods of open services, and what takes their calls in place of a thread pool.
        costs: methods whose calls the rate limit may count more than once: request -> count.
    """

    coalesced: Mapping[str, CoalescedMethod] = field(default_factory=dict)
    unthreaded: Mapping[str, CallPool] = field(default_factory=dict)
    costs: Mapping[str, Callable[[Any], int]] = field(default_factory=dict)


class RequestInterceptor(grpc.ServerInterceptor):
    """Table from method to policy. A row is added when its method is first called.

    | method                              | pool    | parses the body                 | metrics |
    |-------------------------------------|---------|---------------------------------|---------|
    | API, one response                   | calls   | thread of the call              | yes     |
    | API, one response, coalesced        | calls   | thread that runs the batch      | yes     |
    | API, stream of responses            | streams | thread of the call              | yes     |
    | health and reflection, one response | control | gRPC                            | no      |
    | reflection, stream                  | watches | gRPC                            | no      |
    | unthreaded                          | its own | gRPC                            | no      |

    All calls are checked by access control. API calls also end if their deadline has passed, and get the statuses of
    docs/errors.md. Their bodies are parsed after that check, so that a malformed body is INVALID_ARGUMENT; gRPC's own
    parsing would answer INTERNAL. A call whose pool is full gets RESOURCE_EXHAUSTED from the pool for refusals. Health
    and reflection have pools of their own, so they answer however busy the server is.

    The rate limit counts every message of a stream and every request of a batch.

    Methods are not coalesced if there is access control: a batch would parse bodies before their callers are admitted.
    """

    def __init__(
        self,
        pools: ThreadPools,
        access_control: AccessControl,
        metrics: Metrics,
        special_methods: SpecialMethods | None = None,
    ) -> None:
        """Take the pools, what admits the calls, what counts them, and the methods that are handled specially."""
        special = special_methods or SpecialMethods()
        self._pools = pools
        self._access_control = access_control
        self._metrics = metrics
        self._coalesced_methods = special.coalesced
        self._unthreaded_methods = special.unthreaded
        self._call_costs = special.costs if access_control.is_metered else {}
        self._refusing_executor = MethodExecutor(pools.refusals, ignores_bodies=True)
        self._policies: dict[str, MethodPolicy] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the handler of a call; runs in gRPC's polling thread, just before a pool gets the call."""
        policy = self._policies.get(handler_call_details.method)
        if policy is None:
            handler = continuation(handler_call_details)
            if handler is None:
                return None
            policy = self._policies[handler_call_details.method] = self._policy(handler_call_details.method, handler)
        return policy.when_full if policy.pool.is_full else policy.handler

    def _policy(self, method: str, original: Handler) -> MethodPolicy:
        lifecycle = CallLifecycle(method, self._access_control, self._metrics)
        streams, is_api = original.response_streaming, method.startswith(API_PREFIXES)
        pool = self._pool(method, streams, is_api)
        refuse = refusing_behavior(lifecycle, streams)
        # The pool may be full when the headers of a call come (`when_full`) or when its body comes (`Refusal`).
        when_full = make_handler(original, refuse, self._refusing_executor, None)
        executor = MethodExecutor(pool, self._pools.bodies, Refusal(refuse, self._pools.refusals))
        if is_api:
            return MethodPolicy(pool, self._api_handler(method, original, lifecycle, executor), when_full)
        behavior = control_behavior(method, self._access_control, behavior_of(original), streams)
        return MethodPolicy(pool, make_handler(original, behavior, executor, original.request_deserializer), when_full)

    def _pool(self, method: str, streams: bool, is_api: bool) -> CallPool:
        if method in self._unthreaded_methods:
            return self._unthreaded_methods[method]
        if is_api:
            return self._pools.streams if streams else self._pools.calls
        return self._pools.watches if streams else self._pools.control

    def _api_handler(
        self, method: str, original: Handler, lifecycle: CallLifecycle, executor: MethodExecutor
    ) -> Handler:
        assert original.request_deserializer is not None
        parse, behavior = make_parser(original.request_deserializer), behavior_of(original)
        if original.response_streaming:
            return make_handler(original, streaming_behavior(lifecycle, parse, behavior), executor, None)
        cost = self._call_costs.get(method)
        if cost is not None:
            return make_handler(original, metered_behavior(lifecycle, parse, behavior, cost), executor, None)
        coalesced_method = self._coalesced_methods.get(method)
        if coalesced_method is None or self._access_control.is_needed:
            return make_handler(original, unary_behavior(lifecycle, parse, behavior), executor, None)
        queue = CoalescingQueue(parse, coalesced_method)
        return make_handler(original, coalesced_behavior(lifecycle, queue, parse, behavior), executor, queue.add)
