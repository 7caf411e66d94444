"""Counters, reports of several processes, and what the Prometheus endpoint exposes."""

from __future__ import annotations

import sys
import threading
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.process_reports import (
    MetricsReport,
    MetricsReporter,
    WorkerReports,
    write_reports_until_drained,
)
from cofactor_server.observability.prometheus import COUNTERS, GAUGES, MetricsEndpoint


def scrape(port: int) -> dict[tuple[str, ...], float]:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, *(f"{k}={v}" for k, v in sorted(s.labels.items()))): s.value for s in samples}


@pytest.fixture
def serve():
    endpoints = []

    def start(reports):
        endpoints.append(MetricsEndpoint(reports, "127.0.0.1", 0))
        return endpoints[-1].port

    yield start
    for endpoint in endpoints:
        endpoint.close()


def test_calls_are_counted_by_method_and_code_and_timed_by_stage(serve) -> None:
    metrics = Metrics()
    metrics.record("Recommend", "OK", queue_s=0.0002, compute_s=0.003, total_s=0.02)
    metrics.record("Recommend", "NOT_FOUND", queue_s=0.0002, compute_s=0.0, total_s=20.0)
    reporter = MetricsReporter(metrics, dict)
    found = scrape(serve(lambda: [reporter.report()]))
    assert found["cofactor_requests_total", "code=OK", "method=Recommend"] == 1
    assert found["cofactor_requests_total", "code=NOT_FOUND", "method=Recommend"] == 1
    seconds = "cofactor_request_seconds"
    assert found[f"{seconds}_count", "method=Recommend", "stage=total"] == 2
    assert found[f"{seconds}_sum", "method=Recommend", "stage=total"] == pytest.approx(20.02)
    assert found[f"{seconds}_bucket", "le=0.025", "method=Recommend", "stage=total"] == 1
    assert found[f"{seconds}_bucket", "le=10.0", "method=Recommend", "stage=total"] == 1
    assert found[f"{seconds}_bucket", "le=0.0005", "method=Recommend", "stage=queue"] == 2
    assert found[f"{seconds}_bucket", "le=0.0005", "method=Recommend", "stage=compute"] == 1
    assert found[f"{seconds}_bucket", "le=0.005", "method=Recommend", "stage=compute"] == 2
    assert found["cofactor_memory_bytes",] > 1_000_000


def test_canaries_are_counted_by_code_and_timed_over_all_codes(serve) -> None:
    metrics = Metrics()
    for role, version, code, seconds in (
        ("current", "1", "OK", 0.002),
        ("canary", "2", "OK", 0.002),
        ("canary", "2", "INTERNAL", 0.3),
        ("current", "2", "OK", 0.004),  # after its promotion
    ):
        metrics.record_canary(("m", version, role), code, seconds)
    reporter = MetricsReporter(metrics, dict)
    found = scrape(serve(lambda: [reporter.report()]))
    canary = ("model=m", "role=canary", "version=2")
    assert found["cofactor_canary_requests_total", "code=INTERNAL", *canary] == 1
    assert found["cofactor_canary_requests_total", "code=OK", *canary] == 1
    assert found["cofactor_canary_requests_total", "code=OK", "model=m", "role=current", "version=2"] == 1
    assert found["cofactor_canary_seconds_count", *canary] == 2
    assert found["cofactor_canary_seconds_sum", *canary] == pytest.approx(0.302)
    assert found["cofactor_canary_seconds_bucket", "le=0.0025", *canary] == 1
    assert found["cofactor_canary_seconds_sum", "model=m", "role=current", "version=1"] == pytest.approx(0.002)


def test_no_count_of_an_ended_thread_is_lost() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(10_000):
            metrics.record("Predict", "OK", 0.0, 0.0, 0.001)
            metrics.record_batch(3)
            metrics.count("cofactor_model_loads", "ready")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = metrics.totals()
    assert sum(totals.requests["Predict", "OK"][:15]) == 80_000
    assert sum(totals.batches[:-1]) == 80_000
    assert totals.batches[-1] == 240_000
    assert totals.counters["cofactor_model_loads"] == {"ready": 80_000}


def test_totals_can_be_read_while_other_threads_count() -> None:
    metrics = Metrics()
    counting = threading.Event()

    def work() -> None:
        for number in range(3_000):
            metrics.count(f"counter {number}", "ready")
            metrics.count("counter", f"label {number}")
            metrics.record(f"method {number}", "OK", 0.0, 0.0, 0.001)
            metrics.count_shadow("m", str(number), "dropped")
            metrics.record_canary(("m", str(number), "canary"), "OK", 0.001)
            counting.set()

    thread = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        assert counting.wait(10)
        while thread.is_alive():
            metrics.totals()
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert len(metrics.totals().counters) == 3_001


def test_reporting_continues_after_a_report_that_fails(tmp_path, caplog) -> None:
    metrics = Metrics()
    path = tmp_path / "reports" / "1.json"  # writing fails until this folder exists, as it would on a full disk
    rounds = []

    def drained(_seconds: float) -> bool:
        rounds.append(path.exists())
        if len(rounds) == 3:
            path.parent.mkdir()
        metrics.record("Predict", "OK", 0.0, 0.0, 0.001)
        return len(rounds) == 5

    write_reports_until_drained(MetricsReporter(metrics, dict), path, drained)
    assert rounds == [False, False, False, True, True]
    assert sum(MetricsReport.read(path).totals.requests["Predict", "OK"][:15]) == 5
    assert [record.message for record in caplog.records] == [
        "cannot write the metrics of this worker; its last report stays in use"
    ]


def test_workers_are_added_up_and_a_dead_worker_keeps_its_counts_but_not_its_gauges(serve, tmp_path) -> None:
    def gauges():
        return {
            "cofactor_model_info": [({"model": "m", "version": "1", "provider": "CPUExecutionProvider"}, 1.0)],
            "cofactor_model_load_timestamp_seconds": [({"model": "m", "version": "1"}, 100.0)],
            "cofactor_repository_reachable": [({}, 1.0)],
        }

    for process_id in (1, 2, 3):
        metrics = Metrics()
        metrics.record("Predict", "OK", 0.0, 0.0, 0.001)
        MetricsReporter(metrics, gauges).report().write(tmp_path / f"{process_id}.json")
    found = scrape(serve(WorkerReports(tmp_path, lambda: [1, 2]).reports))
    assert found["cofactor_requests_total", "code=OK", "method=Predict"] == 3
    assert found["cofactor_workers",] == 2
    assert found["cofactor_model_info", "model=m", "provider=CPUExecutionProvider", "version=1"] == 2
    assert found["cofactor_model_load_timestamp_seconds", "model=m", "version=1"] == 100
    assert found["cofactor_repository_reachable",] == 1


def test_every_metric_is_exposed_before_anything_was_counted(serve) -> None:
    reporter = MetricsReporter(Metrics(), dict)
    port = serve(lambda: [reporter.report()])
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    for name in [*(f"{counter}_total" for counter in COUNTERS), *GAUGES]:
        assert f"# HELP {name} " in text


def test_counting_a_call_takes_microseconds() -> None:
    metrics = Metrics()

    def batch() -> float:
        started = time.thread_time()
        for _ in range(20_000):
            metrics.record("Recommend", "OK", 0.0001, 0.0, 0.0002)
        return (time.thread_time() - started) / 20_000

    assert min(batch() for _ in range(5)) < 10e-6


def test_a_report_that_cannot_be_read_hides_no_other_and_its_last_one_stays(tmp_path, caplog) -> None:
    for name in ("1", "2"):
        metrics = Metrics()
        metrics.record("Recommend", "OK", queue_s=0.0, compute_s=0.0, total_s=0.1)
        MetricsReporter(metrics, dict).report().write(tmp_path / f"{name}.json")
    workers = WorkerReports(tmp_path, lambda: [1, 2])

    def n_calls() -> list[float]:
        return [sum(report.totals.requests["Recommend", "OK"][:15]) for report in workers.reports()]

    before = n_calls()
    assert len(before) == 2
    (tmp_path / "1.json").write_text('{"totals": ')
    assert n_calls() == before
    assert "cannot read the metrics of worker 1" in caplog.text
