"""Test the supervisor with workers that only sleep."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from cofactor_server.runtime import supervisor as supervisor_module
from cofactor_server.runtime.supervisor import Supervisor, WorkersFailedError, reserve_port
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def worker(monkeypatch):
    """Return the module of the workers; their processes can import it because they inherit the path."""
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("tests.support.sleeping_workers")


@contextlib.contextmanager
def supervising(
    target, folder: Path, n_workers: int = 2, restarts: list[float] | None = None, stop_timeout_s: float = 10.0
):
    on_restart = (lambda: restarts.append(time.monotonic())) if restarts is not None else (lambda: None)
    supervisor = Supervisor(n_workers, target, (folder,), stop_timeout_s, on_restart)
    supervisor.start()
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.request_stop()
        thread.join(30)
        assert not thread.is_alive()


def test_workers_are_drained_when_the_supervisor_is_stopped(worker, tmp_path) -> None:
    with supervising(worker.sleep_until_stopped, tmp_path) as supervisor:
        ids = supervisor.process_ids()
        assert len(ids) == 2
    assert all((tmp_path / f"{process_id}.drained").exists() for process_id in ids)
    assert not any(psutil.pid_exists(process_id) for process_id in ids)


def test_a_killed_worker_is_replaced(worker, tmp_path) -> None:
    restarts: list[float] = []
    with supervising(worker.sleep_until_stopped, tmp_path, restarts=restarts) as supervisor:
        killed = supervisor.process_ids()[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(supervisor.process_ids()) == 2 and killed not in supervisor.process_ids())
        until(lambda: all((tmp_path / str(i)).exists() for i in supervisor.process_ids()))
    assert len(restarts) == 1


def test_a_reload_that_one_worker_announces_reaches_all_others(worker, tmp_path) -> None:
    with supervising(worker.note_reloads, tmp_path, n_workers=3):
        (tmp_path / "announce").touch()
        until(lambda: (tmp_path / "1.reloaded").exists() and (tmp_path / "2.reloaded").exists(), 60)
        assert not (tmp_path / "0.reloaded").exists()


def test_workers_that_keep_crashing_are_replaced_ever_more_slowly(worker, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(supervisor_module, "_STEADY_S", 60.0)  # on a slow machine a crash takes its time
    restarts: list[float] = []
    with supervising(worker.crash_when_ready, tmp_path, n_workers=1, restarts=restarts):
        until(lambda: len(restarts) >= 4)
    announced = [re.search(r"another starts in (\S+) s", record.getMessage()) for record in caplog.records]
    pauses = [float(match[1]) for match in announced if match][:4]
    assert pauses == [0.0, 0.2, 0.4, 0.8]
    between = [after - before for before, after in itertools.pairwise(restarts)]
    assert all(took >= pause for took, pause in zip(between, pauses[1:], strict=False)), "the pauses are real"


def test_a_worker_that_cannot_start_stops_the_supervisor_with_its_exit_code(worker, tmp_path) -> None:
    supervisor = Supervisor(2, worker.exit_while_starting, (tmp_path,), 5.0, lambda: None)
    with pytest.raises(WorkersFailedError) as failure:
        supervisor.start()
    assert failure.value.exit_code == 2


def test_a_worker_that_does_not_drain_in_time_is_killed(worker, tmp_path) -> None:
    with supervising(worker.ignore_sigterm, tmp_path, n_workers=1, stop_timeout_s=0.5) as supervisor:
        process = psutil.Process(supervisor.process_ids()[0])
    assert not process.is_running()


def test_workers_stop_by_themselves_when_their_supervisor_is_killed(worker, tmp_path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "import tests.support.sleeping_workers as t\n"
        "from cofactor_server.runtime.supervisor import Supervisor\n"
        "if __name__ == '__main__':\n"
        "    s = Supervisor(2, t.sleep_until_stopped, (Path(sys.argv[2]),), 5.0, lambda: None)\n"
        "    s.start(); print('up', flush=True); s.run()"
    )
    script = tmp_path / "main.py"
    script.write_text(program)
    folder = tmp_path / "workers"
    folder.mkdir()
    with subprocess.Popen([sys.executable, script, ROOT, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        process.kill()
    ids = [int(path.name) for path in folder.iterdir() if path.suffix == ""]
    assert len(ids) == 2
    until(lambda: all((folder / f"{process_id}.drained").exists() for process_id in ids))


def share(port: int) -> socket.socket:
    """Listen on a reserved port in the way in which gRPC does in a worker."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_reserved_port_is_shared_with_workers_and_nobody_else(n_workers) -> None:
    reserved, port = reserve_port("127.0.0.1", 0)
    with contextlib.ExitStack() as open_sockets:
        open_sockets.enter_context(reserved)
        for _ in range(n_workers):
            open_sockets.enter_context(share(port))
        for options in ((), (socket.SO_REUSEADDR,)):
            plain = open_sockets.enter_context(socket.socket())
            for option in options:
                plain.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match="in use"):
                plain.bind(("127.0.0.1", port))
        with pytest.raises(OSError, match="in use"):
            reserve_port("127.0.0.1", port)
        share(port).close()  # a worker that replaces another


def test_a_port_can_be_reserved_again_right_after_a_server_has_ended() -> None:
    reserved, port = reserve_port("127.0.0.1", 0)
    with reserved, share(port) as listening, socket.create_connection(("127.0.0.1", port)):
        listening.accept()[0].close()  # this end closes first, so that its address stays in TIME_WAIT
    again, _ = reserve_port("127.0.0.1", port)
    again.close()


def test_only_one_of_many_supervisors_that_start_together_gets_the_port() -> None:
    free, port = reserve_port("127.0.0.1", 0)
    free.close()
    start, reserved, refused = threading.Barrier(8), [], []

    def reserve() -> None:
        start.wait()
        try:
            reserved.append(reserve_port("127.0.0.1", port)[0])
        except OSError:
            refused.append(1)

    for _ in range(20):
        threads = [threading.Thread(target=reserve) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(reserved) <= 1
        while reserved:
            reserved.pop().close()
