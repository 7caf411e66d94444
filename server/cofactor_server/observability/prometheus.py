"""Publishes what metrics.py counts, for one process or all workers together, where Prometheus scrapes it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cofactor_server.observability.counters import (
    OVERLAPS,
    SECONDS,
    SHADOW_OUTCOMES,
    SIZES,
    STAGES,
    Gauges,
    Metrics,
    ProcessReport,
    Totals,
)

_LOGGER = logging.getLogger(__name__)

REQUESTS = "cofactor_requests"
REQUEST_SECONDS = "cofactor_request_seconds"
BATCH_SIZE = "cofactor_batch_size"
SHADOW_REQUESTS = "cofactor_shadow_requests"
SHADOW_SECONDS = "cofactor_shadow_seconds"
SHADOW_OVERLAP = "cofactor_shadow_overlap"
# name -> (label, help)
COUNTERS = {
    "cofactor_cache_requests": ("outcome", "Recommendations for known users: kept before (hit) or not (miss)."),
    "cofactor_model_loads": ("outcome", "Versions loaded (ready) and refused (refused)."),
    "cofactor_worker_restarts": ("", "Workers started again after they died."),
}
# name -> (labels, help); processes are added up, or the highest is taken where a sum means nothing.
GAUGES = {
    "cofactor_queue_depth": ((), "Calls that wait for a thread."),
    "cofactor_memory_bytes": ((), "Resident memory of the workers, shared pages counted in each."),
    "cofactor_model_info": (("model", "version", "provider"), "Processes that hold the version, by what runs it."),
    "cofactor_model_current": (("model", "version"), "1 for the version that answers when a request names none."),
    "cofactor_model_load_timestamp_seconds": (("model", "version"), "When the version was loaded."),
    "cofactor_model_train_timestamp_seconds": (("model", "version"), "When the training of the version ended."),
    "cofactor_model_refused": (("model", "version"), "1 for a version that is not served because it was refused."),
    "cofactor_repository_reachable": ((), "0 while the model repository cannot be read."),
    "cofactor_workers": ((), "Processes that answer."),
}
_SUMMED = frozenset({"cofactor_queue_depth", "cofactor_memory_bytes", "cofactor_model_info", "cofactor_workers"})
_LOWEST = frozenset({"cofactor_repository_reachable"})


class ProcessReporter:
    """Says what this process has to report: its counts, its gauges."""

    def __init__(self, metrics: Metrics, gauges: Callable[[], Gauges]) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def report(self) -> ProcessReport:
        """Take stock now."""
        gauges = self._gauges()
        gauges["cofactor_memory_bytes"] = [({}, float(resident_bytes()))]
        gauges["cofactor_workers"] = [({}, 1.0)]
        return ProcessReport(self._metrics.totals(), gauges)


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class WorkerReports:
    """Reports that workers leave in a folder, one file each, named by `<process id>.json`.

    What a dead worker counted stays, or the sums would fall and a rate over them leap; its gauges do not.
    """

    def __init__(self, folder: Path, live: Callable[[], Iterable[int]]) -> None:
        self._folder = folder
        self._live = live

    def reports(self) -> list[ProcessReport]:
        """Read what the workers said last."""
        live = {str(process_id) for process_id in self._live()}
        found = []
        for path in sorted(self._folder.glob("*.json")):
            report = ProcessReport.read(path)
            found.append(report if path.stem in live else ProcessReport(report.totals, {}))
        return found


class ReportCollector(Collector):
    """Turns process reports into Prometheus metrics."""

    def __init__(self, reports: Callable[[], list[ProcessReport]]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        reports = self._reports()
        totals = Totals()
        for report in reports:
            totals.add(report.totals)
        yield from _requests(totals)
        yield _batches(totals)
        yield from _shadows(totals)
        yield from _counters(totals)
        yield from _gauges([report.gauges for report in reports])


def _requests(totals: Totals) -> Iterator[Metric]:
    count = CounterMetricFamily(REQUESTS, "Calls answered, by method and gRPC code.", labels=["method", "code"])
    seconds = HistogramMetricFamily(
        REQUEST_SECONDS,
        "Duration of calls: waiting for a thread (queue), in the engine (compute), all of it (total).",
        labels=["method", "stage"],
    )
    width = len(SECONDS) + 2
    by_method: dict[str, list[float]] = {}
    for (method, code), cells in sorted(totals.requests.items()):
        count.add_metric([method, code], sum(cells[: width - 1]))
        seen = by_method.get(method)
        by_method[method] = list(cells) if seen is None else [a + b for a, b in zip(seen, cells, strict=True)]
    for method, cells in by_method.items():
        for index, stage in enumerate(STAGES):
            part = cells[index * width : (index + 1) * width]
            seconds.add_metric([method, stage], _buckets(SECONDS, part), sum_value=part[-1])
    yield count
    yield seconds


def _batches(totals: Totals) -> Metric:
    sizes = HistogramMetricFamily(BATCH_SIZE, "Calls joined in one run of the engine.")
    sizes.add_metric([], _buckets(SIZES, totals.batches), sum_value=totals.batches[-1])
    return sizes


def _shadows(totals: Totals) -> Iterator[Metric]:
    labels = ["model", "version"]
    count = CounterMetricFamily(
        SHADOW_REQUESTS,
        "Requests for a shadow version: compared with the answer, failed, or dropped under load.",
        labels=[*labels, "outcome"],
    )
    seconds = HistogramMetricFamily(SHADOW_SECONDS, "What a shadow version takes for a request.", labels=labels)
    overlap = HistogramMetricFamily(
        SHADOW_OVERLAP, "Share of the items of an answer that the shadow version recommends too.", labels=labels
    )
    first, second = len(SHADOW_OUTCOMES), len(SHADOW_OUTCOMES) + len(SECONDS) + 2
    for key, cells in sorted(totals.shadows.items()):
        for outcome, n in zip(SHADOW_OUTCOMES, cells[:first], strict=True):
            count.add_metric([*key, outcome], n)
        seconds.add_metric(key, _buckets(SECONDS, cells[first:second]), sum_value=cells[second - 1])
        overlap.add_metric(key, _buckets(OVERLAPS, cells[second:]), sum_value=cells[-1])
    yield from (count, seconds, overlap)


def _buckets(bounds: tuple[float, ...], cells: list[float]) -> list[tuple[str, float]]:
    below, buckets = 0.0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], cells[:-1], strict=True):
        below += count
        buckets.append((bound, below))
    return buckets


def _counters(totals: Totals) -> Iterator[Metric]:
    for name, (label, about) in COUNTERS.items():
        family = CounterMetricFamily(name, about, labels=[label] if label else [])
        values = totals.counters.get(name, {} if label else {"": 0.0})
        for value, count in sorted(values.items()):
            family.add_metric([value] if label else [], count)
        yield family


def _gauges(all_gauges: list[Gauges]) -> Iterator[Metric]:
    for name, (labels, about) in GAUGES.items():
        family = GaugeMetricFamily(name, about, labels=labels)
        merged: dict[tuple[str, ...], float] = {}
        for gauges in all_gauges:
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
    """The HTTP port that Prometheus scrapes."""

    def __init__(self, reports: Callable[[], list[ProcessReport]], host: str, port: int) -> None:
        """Serve on `port`, 0 for any free one. Raises OSError where it is taken."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(ReportCollector(reports))
        self._server, self._thread = start_http_server(port, host, registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def wait_and_report(reporter: ProcessReporter, path: Path, drained: Callable[[float], bool]) -> None:
    """Leave a report each second until `drained(seconds)` says that no call comes any more, and a last one then."""
    is_failing = False
    is_last = False
    while not is_last:
        is_last = drained(1.0)
        try:
            reporter.report().write(path)
        except Exception:  # a full disk, say: the next report may have room
            if not is_failing:
                _LOGGER.exception("the metrics of this worker stand still")
            is_failing = True
        else:
            is_failing = False
