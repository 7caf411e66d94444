"""OpenTelemetry traces, made by OpenTelemetry's own instrumentation of gRPC (extra cofactor[telemetry])."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

from cofactor_server.errors import ConfigurationError

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_BEHAVIORS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class TracingInterceptor(grpc.ServerInterceptor):
    """Records a span for each call.

    It must be the outermost interceptor, so that a span ends with the status that the caller gets.
    """

    def __init__(self, instrumentation: grpc.ServerInterceptor) -> None:
        self._instrumentation = instrumentation

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of a call and keep its executor."""
        inner = continuation(handler_call_details)
        if inner is None:
            return None
        outer = self._instrumentation.intercept_service(lambda _: inner, handler_call_details)
        # The instrumentation drops this attribute, by which the server tells gRPC the executor of a method.
        for name in _BEHAVIORS:
            pool = getattr(getattr(inner, name), "experimental_thread_pool", None)
            if pool is not None:
                getattr(outer, name).experimental_thread_pool = pool
        return outer


def tracing_interceptor() -> tuple[grpc.ServerInterceptor, Callable[[], None]]:
    """Return the interceptor, and a function that flushes the spans at shutdown.

    OpenTelemetry's standard environment variables configure where spans go: OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so on. Raises ConfigurationError if the extra is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.grpc import filters, server_interceptor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError("--tracing needs the extra cofactor[telemetry]; install it") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "cofactor"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    spans_for = filters.negate(filters.health_check())
    instrumentation = server_interceptor(provider, filter_=spans_for)  # type: ignore[no-untyped-call]
    return TracingInterceptor(instrumentation), provider.shutdown
