"""Metrics, logs with the ids of the call, and traces of a real server."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cofactor.v1 import recommender_pb2
from cofactor_server.observability.counters import SECONDS
from cofactor_server.observability.logs import JsonFormatter
from cofactor_server.observability.prometheus import MetricsEndpoint
from cofactor_server.services import recommender_servicer
from tests.support.waiting import until

REQUEST = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="u003"))
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
IDS = (("x-request-id", "req-7"), ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"))


def scrape(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_responses_and_errors_are_counted_and_timed(serve, served_models) -> None:
    api = serve(served_models, model="dot")
    endpoint = MetricsEndpoint(lambda: [api.server.reporter.report()], "127.0.0.1", 0)
    try:
        for _ in range(3):
            api.recommender.Recommend(REQUEST, timeout=10)
        unknown = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="nobody"))
        with pytest.raises(grpc.RpcError):
            api.recommender.Recommend(unknown, timeout=10)
        with pytest.raises(grpc.RpcError):
            api.channel.unary_unary("/cofactor.v1.RecommenderService/Predict")(b"\xff", timeout=10)
        list(
            api.recommender.StreamRecommend(iter([recommender_pb2.StreamRecommendRequest(request=REQUEST)]), timeout=10)
        )
        found = scrape(endpoint.port)
    finally:
        endpoint.close()
    assert found["cofactor_requests_total", "OK", "Recommend"] == 3
    assert found["cofactor_requests_total", "NOT_FOUND", "Recommend"] == 1
    assert found["cofactor_requests_total", "INVALID_ARGUMENT", "Predict"] == 1
    assert found["cofactor_requests_total", "OK", "StreamRecommend"] == 1
    total = found["cofactor_request_seconds_sum", "Recommend", "total"]
    compute = found["cofactor_request_seconds_sum", "Recommend", "compute"]
    queue = found["cofactor_request_seconds_sum", "Recommend", "queue"]
    assert 0 < compute + queue <= total
    assert found["cofactor_model_info", "1", "CPUExecutionProvider", "dot"] == 1
    assert found["cofactor_model_current", "1", "net"] == 1
    assert found["cofactor_model_loads_total", "ready"] == 5
    assert found["cofactor_repository_reachable",] == 1


def test_batches_are_counted_by_their_number_of_calls(serve, served_models) -> None:
    api = serve(served_models, model="dot", batching="on", threads=16)
    endpoint = MetricsEndpoint(lambda: [api.server.reporter.report()], "127.0.0.1", 0)
    try:
        calls = [api.recommender.Recommend.future(REQUEST, timeout=30) for _ in range(200)]
        assert all(call.result().results for call in calls)
        found = scrape(endpoint.port)
    finally:
        endpoint.close()
    assert 0 < found["cofactor_batch_size_count",] <= found["cofactor_batch_size_sum",] <= 200


def test_a_failure_is_logged_as_json_with_the_ids_of_its_call(serve, served_models) -> None:
    lines = []
    handler = logging.Handler()
    formatter = JsonFormatter()
    handler.emit = lambda record: lines.append(formatter.format(record))  # called in the thread of the call
    logging.getLogger("cofactor_server").addHandler(handler)
    try:
        api = serve(served_models, model="dot")
        version = api.server.repository.versions["dot"][0]
        version.ranker.rank = lambda query: 1 / 0
        with pytest.raises(grpc.RpcError, match="internal error"):
            api.recommender.Recommend(REQUEST, metadata=IDS, timeout=10)
    finally:
        logging.getLogger("cofactor_server").removeHandler(handler)
    failure = next(json.loads(line) for line in lines if "internal error" in line)
    assert failure["severity"] == "ERROR"
    assert failure["request_id"] == "req-7"
    assert failure["trace_id"] == TRACE_ID
    assert "ZeroDivisionError" in failure["exception"]


def test_a_json_log_line_has_no_line_breaks_or_control_characters() -> None:
    record = logging.LogRecord("name", logging.WARNING, "", 0, "two\nlines %s", ("\x1b[31m",), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["message"] == "two\nlines \x1b[31m"


def test_a_span_joins_the_callers_trace_and_has_the_status_that_the_caller_got(
    serve, served_models, monkeypatch
) -> None:
    trace_pb2 = importlib.import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    trace_pb2_grpc = importlib.import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc")
    spans = []

    class Collector(trace_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            spans.extend(s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans)
            return trace_pb2.ExportTraceServiceResponse()

    collector = grpc.server(futures.ThreadPoolExecutor(2))
    trace_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
    try:
        api = serve(served_models, model="dot", tracing=True)
        api.recommender.Recommend(REQUEST, metadata=IDS, timeout=10)
        unknown = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="nobody"))
        with pytest.raises(grpc.RpcError):
            api.recommender.Recommend(unknown, metadata=IDS, timeout=10)
        api.channel.close()
        api.server.stop()
    finally:
        collector.stop(None)
    assert [span.name for span in spans] == ["/cofactor.v1.RecommenderService/Recommend"] * 2
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
    codes = [next(a.value.int_value for a in s.attributes if a.key == "rpc.grpc.status_code") for s in spans]
    assert codes == [0, 5]


def test_the_server_imports_no_module_of_an_extra() -> None:
    """Modules of an extra are imported only when a setting needs them."""
    program = (
        "import sys\n"
        "for name in ('jwt', 'opentelemetry', 'model_signing', 'fsspec', 'torch', 'pandas'): sys.modules[name] = None\n"
        "import cofactor_server.runtime.launcher, cofactor_server.__main__\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)


def test_a_caller_that_disconnects_leaves_no_error_in_the_log(serve, served_models, caplog, monkeypatch) -> None:
    api = serve(served_models, model="dot")
    version = api.server.repository.versions["dot"][0]
    started, ended = threading.Event(), threading.Event()
    contexts = []
    caller_waits = recommender_servicer._caller_waits
    monkeypatch.setattr(
        recommender_servicer, "_caller_waits", lambda context: contexts.append(context) or caller_waits(context)
    )

    def wait_and_fail(query):
        started.set()
        while contexts[-1].is_active():  # until the server knows that the caller has disconnected
            time.sleep(0.005)
        ended.set()
        raise RuntimeError("no caller is left to receive this")

    version.ranker.rank = wait_and_fail
    call = api.recommender.Recommend.future(REQUEST, timeout=30)
    assert started.wait(10)
    call.cancel()
    assert ended.wait(10)
    api.server.stop()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_stream_that_its_caller_cancels_is_counted_as_cancelled(serve, served_models) -> None:
    api = serve(served_models, model="dot")

    def endless_requests():
        while True:
            yield recommender_pb2.StreamRecommendRequest(request=REQUEST)

    def n_calls(code):
        return sum(api.server.reporter.report().totals.requests.get(("StreamRecommend", code), [0])[: len(SECONDS) + 1])

    for _ in range(10):
        stream = api.recommender.StreamRecommend(endless_requests(), timeout=30)
        next(stream)
        stream.cancel()
    until(lambda: api.server.pools.streams.n_calls == 0)
    # If gRPC ends the requests before it reports the cancellation, the stream looks like one that ended normally.
    assert n_calls("CANCELLED") + n_calls("OK") == 10
    assert n_calls("CANCELLED") >= 3
