"""Several processes on one port (SO_REUSEPORT): started, watched, started again when they die, drained together.

They are spawned, never forked: gRPC's threads do not survive a fork.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

_log = logging.getLogger(__name__)
_spawn = multiprocessing.get_context("spawn")

# A worker that answered for this long is started again at once; another waits, twice as long each time.
_STEADY_S = 1.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class WorkersFailedError(RuntimeError):
    """The workers could not be started; `exit_code` is that of the one that failed."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"a worker stopped with exit code {exit_code} while starting")
        self.exit_code = exit_code


def reserve_port(host: str, port: int) -> tuple[socket.socket, int]:
    """Bind `host:port` without listening, so that the workers can share it and nobody else takes it; 0: any free port.

    Returns the socket, to be kept open, and the port. Raises OSError where the port is taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError:
        reserved.close()
        raise
    return reserved, reserved.getsockname()[1]


@dataclass(frozen=True)
class SupervisorLink:
    """A worker's side of the pipe to its supervisor."""

    connection: Connection

    def announce_ready(self) -> None:
        """Say that this worker answers calls."""
        self.connection.send("ready")

    def on_orphaned(self, stop: Callable[[], None]) -> None:
        """Call `stop` once the supervisor is gone: nobody would ever stop this process."""
        threading.Thread(target=self._wait, args=(stop,), name="supervisor-link", daemon=True).start()

    def _wait(self, stop: Callable[[], None]) -> None:
        try:
            self.connection.recv()
        except (EOFError, OSError):
            stop()


@dataclass
class _Worker:
    slot: int
    process: SpawnProcess
    connection: Connection
    ready_at: float | None = None
    pauses: int = field(default=0)


class Supervisor:
    """Keeps `count` processes running `target(link, slot, *arguments)`; slots are 0 to count - 1."""

    def __init__(
        self,
        count: int,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        stop_timeout_s: float,
        on_restart: Callable[[], None],
    ) -> None:
        """Prepare; `stop_timeout_s` is what a worker gets between SIGTERM and SIGKILL."""
        self._target = target
        self._arguments = arguments
        self._stop_timeout_s = stop_timeout_s
        self._on_restart = on_restart
        self._count = count
        self._workers: list[_Worker] = []
        self._due: list[tuple[float, int, int]] = []  # (when, slot, pauses before) of workers to be started again
        self._wake_reader, self._wake_writer = _spawn.Pipe(duplex=False)
        self._stopping = False

    def process_ids(self) -> list[int]:
        """Processes that are up."""
        return [worker.process.pid for worker in list(self._workers) if worker.process.pid is not None]

    def start(self) -> bool:
        """Start the workers and wait until all are ready, or `request_stop` is called; returns whether they are.

        Raises WorkersFailedError when one stops before that.
        """
        self._workers = [self._start_one(slot) for slot in range(self._count)]
        while not self._stopping and not all(worker.ready_at is not None for worker in self._workers):
            self._wait(None)
            for worker in self._workers:
                self._take_message(worker)
                if worker.ready_at is None and not worker.process.is_alive() and not self._stopping:
                    self.request_stop()
                    self._stop_all()
                    raise WorkersFailedError(worker.process.exitcode or 1)
        return not self._stopping

    def run(self) -> None:
        """Start workers again as they die, until `request_stop`; then drain them."""
        while not self._stopping:
            self._wait(max(0.0, min(when for when, _, _ in self._due) - time.monotonic()) if self._due else None)
            self._replace_the_dead()
        self._stop_all()

    def request_stop(self) -> None:
        """Make `run` drain and return; safe in a signal handler."""
        self._stopping = True
        self._wake_writer.send_bytes(b"stop")

    def _start_one(self, slot: int, pauses: int = 0) -> _Worker:
        mine, theirs = _spawn.Pipe()
        process = _spawn.Process(target=run_worker, args=(self._target, SupervisorLink(theirs), slot, self._arguments))
        # Ctrl-C reaches every process of the terminal. A new one inherits the mask, and ignores the signal before it
        # lifts the mask: no moment is left in which it ends with a stack trace.
        resource_tracker.ensure_running()  # its own start would lift the mask
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return _Worker(slot, process, mine, pauses=pauses)

    def _wait(self, timeout: float | None) -> None:
        watched: list[Any] = [self._wake_reader]
        for worker in self._workers:
            watched.append(worker.process.sentinel)
            if worker.ready_at is None:
                watched.append(worker.connection)
        multiprocessing.connection.wait(watched, timeout)

    @staticmethod
    def _take_message(worker: _Worker) -> None:
        try:
            if worker.ready_at is None and worker.connection.poll():
                worker.connection.recv()
                worker.ready_at = time.monotonic()
        except (EOFError, OSError):
            worker.process.join(1.0)  # it is ending: its exit code comes next

    def _replace_the_dead(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            self._take_message(worker)
            if worker.process.is_alive():
                continue
            self._workers.remove(worker)
            worker.connection.close()
            steady = worker.ready_at is not None and now - worker.ready_at >= _STEADY_S
            pause = 0.0 if steady or worker.pauses == 0 else min(_FIRST_PAUSE_S * 2**worker.pauses, _LONGEST_PAUSE_S)
            _log.error(
                "worker %s died with exit code %s; another starts in %.1f s",
                worker.process.pid,
                worker.process.exitcode,
                pause,
            )
            self._due.append((now + pause, worker.slot, 0 if steady else worker.pauses + 1))
        for due in [each for each in self._due if each[0] <= now]:
            self._due.remove(due)
            self._workers.append(self._start_one(due[1], due[2]))
            self._on_restart()

    def _stop_all(self) -> None:
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.terminate()
        deadline = time.monotonic() + self._stop_timeout_s
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                _log.error(
                    "worker %s did not stop within %.1f s and is killed", worker.process.pid, self._stop_timeout_s
                )
                worker.process.kill()
                worker.process.join()
            worker.connection.close()


def run_worker(target: Callable[..., None], link: SupervisorLink, slot: int, arguments: tuple[Any, ...]) -> None:
    """Where a worker process begins."""
    # The supervisor alone answers Ctrl-C, with SIGTERM to each worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    target(link, slot, *arguments)
