"""Serving in this process, or in several that share the port."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cofactor_server.config import ServerConfig
from cofactor_server.errors import CofactorError, ConfigurationError
from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.logs import configure_logging
from cofactor_server.observability.process_reports import MetricsReport, WorkerReports, write_reports_until_drained
from cofactor_server.observability.prometheus import MetricsEndpoint
from cofactor_server.repository.locked_folder import LockedFolder, share_lock
from cofactor_server.runtime.stop_signal import StopSignal
from cofactor_server.runtime.supervisor import Supervisor, SupervisorLink, WorkersFailedError, reserve_port
from cofactor_server.server import create_server

_LOGGER = logging.getLogger(__name__)

# What a worker gets beyond its drain delay and grace to close what it holds, before it is killed.
_CLOSING_S = 5.0
# Objects between two searches for unreachable cycles: calls leave none, and at Python's 700 the searches took 2.7 us of
# each.
_GARBAGE_THRESHOLD = 10_000


def serve_alone(config: ServerConfig) -> int:
    """Serves in this process until SIGTERM or SIGINT; returns 0. Raises CofactorError when it cannot start."""
    stopping = StopSignal(signal.SIGTERM, signal.SIGINT)
    gc.set_threshold(_GARBAGE_THRESHOLD)
    with create_server(config) as server:
        endpoint = _metrics_endpoint(config, lambda: [server.reporter.report()]) if config.metrics_port else None
        stopping.wait()
        _LOGGER.info("stopping")
        server.stop()
        if endpoint is not None:
            endpoint.close()
    return 0


def serve_with_workers(config: ServerConfig) -> int:
    """Serves in config.workers processes until SIGTERM or SIGINT.

    Returns 0, or the exit code of a worker that could not start. Raises ConfigurationError.
    """
    if config.host.startswith("unix:"):
        raise ConfigurationError("workers share a TCP port; with a unix: host there is one process only")
    try:
        reserved, port = reserve_port(config.host, config.port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror}; choose another --port"
        ) from None
    metrics = Metrics()
    with reserved, LockedFolder() as folder:
        reports = folder.path / "reports"
        reports.mkdir()
        shared = replace(config, port=port, copies=config.copies or str(folder.path / "copies"))
        supervisor = Supervisor(
            config.workers,
            run_worker_server,
            (shared, reports),
            config.drain_delay_s + config.grace_s + _CLOSING_S,
            lambda: metrics.count("cofactor_worker_restarts"),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: supervisor.request_stop())
        workers = WorkerReports(reports, supervisor.process_ids)
        # Before the workers: with its port taken nothing has been started that would have to be stopped.
        endpoint = (
            _metrics_endpoint(config, lambda: [*workers.reports(), MetricsReport(metrics.totals(), {})])
            if config.metrics_port
            else None
        )
        try:
            if supervisor.start():
                _LOGGER.info("%d workers listening on %s port %d", config.workers, config.host, port)
            supervisor.run()
        except WorkersFailedError as error:
            return error.exit_code
        finally:
            if endpoint is not None:
                endpoint.close()
    return 0


def run_worker_server(link: SupervisorLink, slot: int, config: ServerConfig, reports: Path) -> None:
    """One worker process; the one in slot 0 has the admin port."""
    configure_logging(config.log_level, config.log_format)
    stopping = StopSignal(signal.SIGTERM)
    gc.set_threshold(_GARBAGE_THRESHOLD)
    link.on_orphaned(stopping.set)
    try:
        share_lock(reports.parent)  # until this process ends, also where it outlives the supervisor
    except OSError:
        sys.exit("error: the supervisor has ended")
    if config.pin_workers:
        _pin(slot, config.workers)
    try:
        server = create_server(config if slot == 0 else replace(config, admin_port=0), shares_port=True)
    except CofactorError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    drained = threading.Event()
    reporting = threading.Thread(
        target=write_reports_until_drained,
        args=(server.reporter, reports / f"{os.getpid()}.json", drained.wait),
        daemon=True,
    )
    with server:
        if config.metrics_port:
            reporting.start()
        link.announce_ready()
        stopping.wait()
        _LOGGER.info("stopping")
    drained.set()
    if config.metrics_port:
        reporting.join()


def _pin(slot: int, n_workers: int) -> None:
    """Keep this worker on one core, where every worker can have its own.

    Threads of one process that run on several cores hand Python's lock across them: a call then costs twice the
    processor time (docs/benchmarks/serving.md, workers).
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= n_workers:
        os.sched_setaffinity(0, {cores[slot]})


def _metrics_endpoint(config: ServerConfig, reports: Callable[[], list[MetricsReport]]) -> MetricsEndpoint:
    host = "127.0.0.1" if config.host.startswith("unix:") else config.host.strip("[]")
    try:
        return MetricsEndpoint(reports, host, config.metrics_port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {config.metrics_port}: {error.strerror}; choose another --metrics-port"
        ) from None
