"""Serve in this process, or in several worker processes that share the port."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from cofactor_server.config import ServerConfig
from cofactor_server.errors import CofactorError, ConfigurationError
from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.logs import configure_logging
from cofactor_server.observability.process_reports import MetricsReport, WorkerReports, write_reports_until_drained
from cofactor_server.observability.prometheus import MetricsEndpoint
from cofactor_server.repository.locked_folder import open_process_folder, share_lock
from cofactor_server.runtime.stop_signal import RELOAD_SIGNALS, StopSignal
from cofactor_server.runtime.supervisor import Supervisor, SupervisorLink, WorkersFailedError, reserve_port
from cofactor_server.server import RunningServer, create_server

_LOGGER = logging.getLogger(__name__)

# Time that a worker has to close its server after drain delay and grace, before it is killed.
_CLOSING_S = 5.0
# Exit code of a process whose device has failed. An orchestrator replaces it.
DEVICE_FAILED = 3
# New objects that start a search for unreachable cycles. Calls leave no cycles, and with Python's 700 the searches took
# 2.7 us per call.
_GARBAGE_THRESHOLD = 10_000


def serve_in_one_process(config: ServerConfig) -> int:
    """Serve in this process until SIGTERM or SIGINT, then return 0; the signals to reload do not end it.

    If the device fails, stop and return DEVICE_FAILED. Raises CofactorError if the server cannot start.
    """
    stop_signal = StopSignal(signal.SIGTERM, signal.SIGINT)
    gc.set_threshold(_GARBAGE_THRESHOLD)
    with create_server(config) as server, _metrics_endpoint(config, lambda: [server.reporter.report()]):
        server.device_failure.then(stop_signal.set)
        stop_signal.wait(on_reload=server.reload_files)
        _LOGGER.info("stopping")
        server.stop()
    return DEVICE_FAILED if server.device_failure.has_happened else 0


def serve_with_workers(config: ServerConfig) -> int:
    """Serve in config.workers processes until SIGTERM or SIGINT.

    Returns 0, or the exit code of a worker that could not start. Raises ConfigurationError.
    """
    metrics = Metrics()
    reserved, port = _reserve_port(config)
    with reserved, open_process_folder(config.copies) as folder:
        reports = folder.path / "reports"
        reports.mkdir()
        worker_config = replace(config, port=port, copies=config.copies or str(folder.path / "copies"))
        supervisor = Supervisor(
            config.workers,
            serve_as_worker,
            (worker_config, reports),
            stop_timeout_s=config.drain_delay_s + config.grace_s + _CLOSING_S,
            on_restart=lambda: metrics.count("cofactor_worker_restarts"),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: supervisor.request_stop())
        for number in RELOAD_SIGNALS:
            signal.signal(number, lambda _number, _frame: supervisor.send_to_workers(signal.SIGHUP))
        workers = WorkerReports(reports, supervisor.process_ids)
        # Before the workers start: if the metrics port is taken, there is nothing to stop.
        with _metrics_endpoint(config, lambda: [*workers.reports(), MetricsReport(metrics.totals(), {})]):
            try:
                if supervisor.start():
                    _LOGGER.info("%d workers listening on %s port %d", config.workers, config.host, port)
                supervisor.run()
            except WorkersFailedError as error:
                return error.exit_code
    return 0


def serve_as_worker(link: SupervisorLink, slot: int, config: ServerConfig, reports: Path) -> None:
    """Serve in this worker process until SIGTERM, or until the supervisor has gone.

    The worker in slot 0 has the admin API. All workers write their metrics to the folder `reports`.
    """
    configure_logging(config.log_level, config.log_format)
    stop_signal = StopSignal(signal.SIGTERM)
    gc.set_threshold(_GARBAGE_THRESHOLD)
    servers: list[RunningServer] = []

    def reload() -> None:
        for server in servers:  # none yet if the server is still being created, and reads the repository anyway
            server.reload_repository()

    link.on_orphaned(stop_signal.set, on_reload=reload)
    try:
        share_lock(reports.parent)  # until this process ends, even if the supervisor ends first
    except OSError:
        sys.exit("error: the supervisor has ended")
    if config.pin_workers:
        _pin_to_core(slot, config.workers)
    try:
        own_config = config if slot == 0 else replace(config, admin_port=0)
        server = create_server(own_config, shares_port=True, on_reload=link.announce_reload)
        servers.append(server)
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
        stop_signal.wait(on_reload=server.reload_files)
        _LOGGER.info("stopping")
    drained.set()
    if config.metrics_port:
        reporting.join()


def _reserve_port(config: ServerConfig) -> tuple[socket.socket, int]:
    if config.host.startswith("unix:"):
        raise ConfigurationError("workers share a TCP port, so a unix: host needs --workers 1")
    try:
        return reserve_port(config.host, config.port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror}; choose another --port"
        ) from None


def _pin_to_core(slot: int, n_workers: int) -> None:
    """Pin this worker to one core, if there is a core for every worker.

    Threads of one process that run on several cores pass Python's lock between them, and a call then takes twice the
    CPU time (docs/benchmarks/serving.md, workers).
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= n_workers:
        os.sched_setaffinity(0, {cores[slot]})


@contextlib.contextmanager
def _metrics_endpoint(config: ServerConfig, reports: Callable[[], list[MetricsReport]]) -> Iterator[None]:
    """Serve the metrics while the context is open, if the configuration has a port for them."""
    if not config.metrics_port:
        yield
        return
    host = "127.0.0.1" if config.host.startswith("unix:") else config.host.strip("[]")
    try:
        endpoint = MetricsEndpoint(reports, host, config.metrics_port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {config.metrics_port}: {error.strerror}; choose another --metrics-port"
        ) from None
    with contextlib.closing(endpoint):
        yield
