"""Expose metrics to Prometheus, of one process or of all worker processes together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cofactor_server.observability.counters import (
    OVERLAPS,
    SECONDS,
    SECONDS_CELLS,
    SHADOW_OUTCOMES,
    SIZES,
    STAGES,
    MetricTotals,
)
from cofactor_server.observability.process_reports import Gauges, MetricsReport

REQUESTS = "cofactor_requests"
REQUEST_SECONDS = "cofactor_request_seconds"
BATCH_SIZE = "cofactor_batch_size"
CANARY_REQUESTS = "cofactor_canary_requests"
CANARY_SECONDS = "cofactor_canary_seconds"
SHADOW_REQUESTS = "cofactor_shadow_requests"
SHADOW_SECONDS = "cofactor_shadow_seconds"
SHADOW_OVERLAP = "cofactor_shadow_overlap"
# Counter name -> (label, help).
COUNTERS = {
    "cofactor_cache_requests": (
        "outcome",
        "Recommendations for known users, by whether the response was cached (hit) or not (miss).",
    ),
    "cofactor_rule_requests": (
        "rule_set",
        "Recommend requests with rules, by the name of the rule set; (request) for rules in the request itself.",
    ),
    "cofactor_model_loads": ("outcome", "Versions loaded (ready) and refused (refused)."),
    "cofactor_overlays": ("outcome", "Overlays applied to a version (applied) and refused (refused)."),
    "cofactor_feedback_events": (
        "outcome",
        "Events of RecordEvents, by outcome: recorded; duplicate (recorded before, or of an erased user); refused (too "
        "many were waiting); failed (the log could not be written).",
    ),
    "cofactor_feedback_lists": (
        "outcome",
        "Served lists for the feedback log, written (recorded) or lost because too many were waiting or the log could "
        "not be written (dropped).",
    ),
    "cofactor_worker_restarts": ("", "Workers restarted after they died."),
}
# Gauge name -> (labels, help).
GAUGES = {
    "cofactor_queue_depth": ((), "Calls that wait for a thread."),
    "cofactor_memory_bytes": ((), "Resident memory of the workers; pages that they share count in each."),
    "cofactor_model_info": (
        ("model", "version", "provider"),
        "Number of processes that have loaded the version, by execution provider.",
    ),
    "cofactor_graph_info": (
        ("model", "version", "graph", "size", "provider"),
        "Number of processes in which runs of this size (users, pairs or candidates) and more go to the execution "
        "provider; only on servers with a device.",
    ),
    "cofactor_device_memory_bytes": (
        ("model", "version", "kind"),
        "Device memory that loading the version has taken (taken), and the size of its tables there (tables).",
    ),
    "cofactor_model_current": (("model", "version"), "1 for the version that serves requests that name none."),
    "cofactor_model_load_timestamp_seconds": (("model", "version"), "When the version was loaded."),
    "cofactor_model_train_timestamp_seconds": (("model", "version"), "When the training of the version ended."),
    "cofactor_model_refused": (("model", "version"), "1 for a version that is not served because it was refused."),
    "cofactor_overlay_sequence": (
        ("model", "version"),
        "Number of the overlay that the version is served with, 0 for none; the lowest of all processes.",
    ),
    "cofactor_repository_reachable": ((), "0 while the model repository cannot be read."),
    "cofactor_tls_expiry_timestamp_seconds": (
        ("file",),
        "When the first certificate of a TLS file (certificate, client_authority) expires.",
    ),
    "cofactor_workers": ((), "Worker processes that serve."),
}
# Over several processes these gauges are summed, or the lowest value is taken; of all others the highest is.
_SUMMED = frozenset(
    {
        "cofactor_queue_depth",
        "cofactor_memory_bytes",
        "cofactor_model_info",
        "cofactor_graph_info",
        "cofactor_device_memory_bytes",
        "cofactor_workers",
    }
)
_LOWEST = frozenset(
    {"cofactor_repository_reachable", "cofactor_tls_expiry_timestamp_seconds", "cofactor_overlay_sequence"}
)


class PrometheusCollector(Collector):
    """Turns the reports of all processes into Prometheus metrics."""

    def __init__(self, reports: Callable[[], list[MetricsReport]]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        reports = self._reports()
        totals = MetricTotals()
        for report in reports:
            totals.add(report.totals)
        yield from _requests(totals)
        yield _batches(totals)
        yield from _canaries(totals)
        yield from _shadows(totals)
        yield from _counters(totals)
        yield from _gauges([report.gauges for report in reports])


def _requests(totals: MetricTotals) -> Iterator[Metric]:
    count = CounterMetricFamily(REQUESTS, "Finished calls, by method and gRPC code.", labels=["method", "code"])
    seconds = HistogramMetricFamily(
        REQUEST_SECONDS,
        "Duration of calls by stage: waiting for a thread (queue), in the engine (compute), from start to end (total).",
        labels=["method", "stage"],
    )
    by_method: dict[str, list[float]] = {}
    for (method, code), cells in sorted(totals.requests.items()):
        count.add_metric([method, code], sum(cells[: SECONDS_CELLS - 1]))
        previous = by_method.get(method)
        by_method[method] = list(cells) if previous is None else [a + b for a, b in zip(previous, cells, strict=True)]
    for method, cells in by_method.items():
        for index, stage in enumerate(STAGES):
            stage_cells = cells[index * SECONDS_CELLS : (index + 1) * SECONDS_CELLS]
            seconds.add_metric([method, stage], _buckets(SECONDS, stage_cells), sum_value=stage_cells[-1])
    yield count
    yield seconds


def _batches(totals: MetricTotals) -> Metric:
    sizes = HistogramMetricFamily(BATCH_SIZE, "Calls batched in one run of the engine.")
    sizes.add_metric([], _buckets(SIZES, totals.batches), sum_value=totals.batches[-1])
    return sizes


def _canaries(totals: MetricTotals) -> Iterator[Metric]:
    labels = ["model", "version", "role"]
    count = CounterMetricFamily(
        CANARY_REQUESTS,
        "Requests whose version a canary share decided, by gRPC code: those of a canary (canary), and those that "
        "stayed with the current version (current).",
        labels=[*labels, "code"],
    )
    seconds = HistogramMetricFamily(
        CANARY_SECONDS, "Time that these requests took, without the wait for a thread.", labels=labels
    )
    by_share: dict[tuple[str, str, str], list[float]] = {}
    for (*share, code), cells in sorted(totals.canaries.items()):
        count.add_metric([*share, code], sum(cells[:-1]))
        key = (share[0], share[1], share[2])
        previous = by_share.get(key)
        by_share[key] = list(cells) if previous is None else [a + b for a, b in zip(previous, cells, strict=True)]
    for key, cells in by_share.items():
        seconds.add_metric(key, _buckets(SECONDS, cells), sum_value=cells[-1])
    yield from (count, seconds)


def _shadows(totals: MetricTotals) -> Iterator[Metric]:
    labels = ["model", "version"]
    count = CounterMetricFamily(
        SHADOW_REQUESTS,
        "Requests for a shadow version: compared with the response, failed, or dropped under load.",
        labels=[*labels, "outcome"],
    )
    seconds = HistogramMetricFamily(SHADOW_SECONDS, "Time that a shadow version takes for a request.", labels=labels)
    overlap = HistogramMetricFamily(
        SHADOW_OVERLAP, "Share of the items of a response that the shadow version recommends too.", labels=labels
    )
    first, second = len(SHADOW_OUTCOMES), len(SHADOW_OUTCOMES) + SECONDS_CELLS
    for key, cells in sorted(totals.shadows.items()):
        for outcome, n_requests in zip(SHADOW_OUTCOMES, cells[:first], strict=True):
            count.add_metric([*key, outcome], n_requests)
        seconds.add_metric(key, _buckets(SECONDS, cells[first:second]), sum_value=cells[second - 1])
        overlap.add_metric(key, _buckets(OVERLAPS, cells[second:]), sum_value=cells[-1])
    yield from (count, seconds, overlap)


def _buckets(bounds: tuple[float, ...], cells: list[float]) -> list[tuple[str, float]]:
    """Return the cumulative counts of a histogram: [(upper bound, count of values up to it)]."""
    total, buckets = 0.0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], cells[:-1], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def _counters(totals: MetricTotals) -> Iterator[Metric]:
    for name, (label, description) in COUNTERS.items():
        family = CounterMetricFamily(name, description, labels=[label] if label else [])
        counts = totals.counters.get(name, {} if label else {"": 0.0})
        for value, count in sorted(counts.items()):
            family.add_metric([value] if label else [], count)
        yield family


def _gauges(gauges_of_processes: list[Gauges]) -> Iterator[Metric]:
    for name, (labels, description) in GAUGES.items():
        family = GaugeMetricFamily(name, description, labels=labels)
        merged: dict[tuple[str, ...], float] = {}
        for gauges in gauges_of_processes:
            for values, value in gauges.get(name, []):
                key = tuple(values[label] for label in labels)
                merged[key] = _merge(name, merged[key], value) if key in merged else value
        for key, value in sorted(merged.items()):
            family.add_metric(key, value)
        yield family


def _merge(name: str, left: float, right: float) -> float:
    if name in _SUMMED:
        return left + right
    return min(left, right) if name in _LOWEST else max(left, right)


class MetricsEndpoint:
    """HTTP endpoint that Prometheus scrapes."""

    def __init__(self, reports: Callable[[], list[MetricsReport]], host: str, port: int) -> None:
        """Serve on `port`, or on any free port if it is 0. Raises OSError if the port is in use."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(PrometheusCollector(reports))
        self._server, self._thread = start_http_server(port, host, registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
