"""Supervise worker processes that share a port (SO_REUSEPORT): start them, replace those that die, drain them together.

Workers are spawned, never forked: gRPC's threads do not survive a fork.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from cofactor_server.runtime.stop_signal import RELOAD_SIGNALS, ignore_reload_signals

_LOGGER = logging.getLogger(__name__)
_SPAWN = multiprocessing.get_context("spawn")

# A worker that has served for this long is replaced at once. Otherwise its slot stays empty for a pause that doubles
# with every failure.
_STEADY_S = 1.0
_FIRST_PAUSE_S = 0.1
_MAX_PAUSE_S = 5.0
# Messages between a worker and the supervisor.
_READY, _RELOAD = "ready", "reload"


# Signals that must not reach a worker while it starts.
_MASKED = {signal.SIGINT, *RELOAD_SIGNALS}


class WorkersFailedError(RuntimeError):
    """A worker stopped while it was starting.

    Attributes:
        exit_code: exit code of that worker.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"a worker stopped with exit code {exit_code} while starting")
        self.exit_code = exit_code


def reserve_port(host: str, port: int) -> tuple[socket.socket, int]:
    """Bind a port without listening on it, so that the workers of this server can share it and nobody else can.

    `port` 0 means any free one. Returns the socket, which has to stay open, and the port. Raises OSError if the port is
    taken, also by another server with workers.
    """
    family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as claim:
            # SO_REUSEPORT alone would let a second supervisor share the port. So first claim it without that option.
            # With SO_REUSEADDR, connections of a server that has ended do not count, and listening makes the claim
            # exclusive.
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            claim.bind(address)
            claim.listen()
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # The reserved socket lacks SO_REUSEADDR, so that the next claim fails after this one has ended.
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(claim.getsockname())
    except OSError:
        reserved.close()
        raise
    return reserved, reserved.getsockname()[1]


@dataclass(frozen=True)
class SupervisorLink:
    """A worker's end of the pipe to its supervisor."""

    connection: Connection

    def announce_ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        self.connection.send(_READY)

    def announce_reload(self) -> None:
        """Have all other workers look for changes of the repository."""
        with contextlib.suppress(OSError):  # without a supervisor this process is about to stop
            self.connection.send(_RELOAD)

    def on_orphaned(self, stop: Callable[[], None], on_reload: Callable[[], object] = lambda: None) -> None:
        """Call `stop` when the supervisor has gone, because then nobody else would stop this process.

        on_reload: called when another worker announces a reload.
        """
        threading.Thread(target=self._wait, args=(stop, on_reload), name="supervisor-link", daemon=True).start()

    def _wait(self, stop: Callable[[], None], on_reload: Callable[[], object]) -> None:
        try:
            while True:
                if self.connection.recv() == _RELOAD:
                    on_reload()
        except (EOFError, OSError):
            stop()


@dataclass
class _Worker:
    """A worker process.

    Attributes:
        connection: the supervisor's end of the pipe.
        n_failures: workers in a row that died in this slot before they were steady.
        ready_at: when the worker announced that it serves, by time.monotonic(); None before.
    """

    slot: int
    process: SpawnProcess
    connection: Connection
    n_failures: int
    ready_at: float | None = None


@dataclass(frozen=True)
class _Restart:
    """A start of a worker that is due at a time of time.monotonic()."""

    due: float
    slot: int
    n_failures: int


class Supervisor:
    """Keep `n_workers` processes running `target(link, slot, *arguments)`; slots are 0 to n_workers - 1."""

    def __init__(
        self,
        n_workers: int,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        stop_timeout_s: float,
        on_restart: Callable[[], None],
    ) -> None:
        """`stop_timeout_s` is the time between SIGTERM and SIGKILL; `on_restart` is called for every replacement."""
        self._n_workers = n_workers
        self._target = target
        self._arguments = arguments
        self._stop_timeout_s = stop_timeout_s
        self._on_restart = on_restart
        self._workers: list[_Worker] = []
        self._restarts: list[_Restart] = []
        self._wake_reader, self._wake_writer = _SPAWN.Pipe(duplex=False)
        self._stopping = False

    def process_ids(self) -> list[int]:
        """Return the ids of the worker processes."""
        return [worker.process.pid for worker in list(self._workers) if worker.process.pid is not None]

    def start(self) -> bool:
        """Start the workers and wait until all are ready; return False if `request_stop` is called before.

        Raises WorkersFailedError if a worker stops before it is ready.
        """
        self._workers = [self._start_worker(slot) for slot in range(self._n_workers)]
        while not self._stopping and not all(worker.ready_at is not None for worker in self._workers):
            self._wait(None)
            for worker in self._workers:
                self._receive(worker)
                if worker.ready_at is None and not worker.process.is_alive() and not self._stopping:
                    self.request_stop()
                    self._stop_workers()
                    raise WorkersFailedError(worker.process.exitcode or 1)
        return not self._stopping

    def run(self) -> None:
        """Replace workers that die, until `request_stop` is called; then drain all."""
        while not self._stopping:
            due = min((restart.due for restart in self._restarts), default=None)
            self._wait(None if due is None else max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self._remove_dead_workers(now)
            self._run_due_restarts(now)
        self._stop_workers()

    def request_stop(self) -> None:
        """Make `run` drain the workers and return; safe in a signal handler."""
        self._stopping = True
        self._wake_writer.send_bytes(b"stop")

    def send_to_workers(self, number: signal.Signals) -> None:
        """Send a signal to every worker; safe in a signal handler."""
        for process_id in [] if self._stopping else self.process_ids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, number)

    def _start_worker(self, slot: int, n_failures: int = 0) -> _Worker:
        connection, worker_end = _SPAWN.Pipe()
        link = SupervisorLink(worker_end)
        process = _SPAWN.Process(target=worker_main, args=(self._target, link, slot, self._arguments))
        # Ctrl-C reaches every process of the terminal. The new process inherits a mask that blocks SIGINT, and ignores
        # the signal before it lifts the mask. So there is no moment in which Ctrl-C ends it with a stack trace. The
        # same holds for the signals to reload, which would end it undrained.
        resource_tracker.ensure_running()  # started by process.start(), it would lift the mask
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _MASKED)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        worker_end.close()
        return _Worker(slot, process, connection, n_failures)

    def _wait(self, timeout: float | None) -> None:
        """Wait until a worker dies or sends a message, `request_stop` is called, or the time is up."""
        watched: list[Any] = [self._wake_reader]
        for worker in self._workers:
            watched += [worker.process.sentinel, worker.connection]
        multiprocessing.connection.wait(watched, timeout)

    def _receive(self, worker: _Worker) -> None:
        """Take the messages of a worker, and pass on those that are for the others."""
        try:
            while worker.connection.poll():
                if worker.connection.recv() == _READY:
                    worker.ready_at = time.monotonic()
                else:
                    self._tell_to_reload([other for other in self._workers if other is not worker])
        except (EOFError, OSError):
            worker.process.join(1.0)  # the worker is ending; wait for its exit code

    @staticmethod
    def _tell_to_reload(workers: list[_Worker]) -> None:
        for worker in workers:
            with contextlib.suppress(OSError):  # it has just died
                worker.connection.send(_RELOAD)

    def _remove_dead_workers(self, now: float) -> None:
        """Remove the workers that have died, and schedule their restarts."""
        for worker in list(self._workers):
            self._receive(worker)
            if worker.process.is_alive():
                continue
            self._workers.remove(worker)
            worker.connection.close()
            is_steady = worker.ready_at is not None and now - worker.ready_at >= _STEADY_S
            n_failures = 0 if is_steady else worker.n_failures + 1
            pause = min(_FIRST_PAUSE_S * 2 ** (n_failures - 1), _MAX_PAUSE_S) if n_failures > 1 else 0.0
            _LOGGER.error(
                "worker %s died with exit code %s; another starts in %.1f s",
                worker.process.pid,
                worker.process.exitcode,
                pause,
            )
            self._restarts.append(_Restart(now + pause, worker.slot, n_failures))

    def _run_due_restarts(self, now: float) -> None:
        for restart in [restart for restart in self._restarts if restart.due <= now]:
            self._restarts.remove(restart)
            self._workers.append(self._start_worker(restart.slot, restart.n_failures))
            self._on_restart()

    def _stop_workers(self) -> None:
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.terminate()
        deadline = time.monotonic() + self._stop_timeout_s
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                _LOGGER.error(
                    "worker %s did not stop within %.1f s and is killed", worker.process.pid, self._stop_timeout_s
                )
                worker.process.kill()
                worker.process.join()
            worker.connection.close()


def worker_main(target: Callable[..., None], link: SupervisorLink, slot: int, arguments: tuple[Any, ...]) -> None:
    """Run a worker process; the first function that it calls."""
    # Only the supervisor reacts to Ctrl-C; it sends SIGTERM to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_reload_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _MASKED)
    target(link, slot, *arguments)
