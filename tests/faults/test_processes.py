"""T2, T3, T4: restarts, killed workers, hanging workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from tests.support.checking_clients import Clients, connect
from tests.support.figures import FULL, SEED, figures
from tests.support.lateness import assert_on_time
from tests.support.server_process import ServerProcess, free_port
from tests.support.waiting import files_below, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

FLAGS = ("--drain-delay-s", "0.5", "--grace-s", "2", "--poll-interval-s", "0")


def restart_in_turn(servers, n_restarts, number=signal.SIGTERM, flags=FLAGS) -> None:
    for restart in range(n_restarts):
        old = servers[restart % 2]
        if number == signal.SIGKILL:
            # Every client soon waits for a server that stands still, so calls are in flight when it is killed.
            old.process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
        code = old.stop(number)
        if number == signal.SIGTERM:
            assert code == 0
        servers[restart % 2] = ServerProcess(old.models, old.log, *flags, port=old.port)
        time.sleep(1.5)  # clients reconnect before the other server stops


@pytest.mark.parametrize("workers", [1, 2])
def test_t2_rolling_restarts_cause_no_errors(versions, tmp_path, workers) -> None:
    n_restarts = (24 if workers == 1 else 8) if FULL else 4 if workers == 1 else 2
    flags = (*FLAGS, "--workers", str(workers)) if workers > 1 else FLAGS
    servers = [ServerProcess(versions.models, tmp_path / f"log{i}", *flags, port=free_port()) for i in range(2)]
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    with figures(f"T2, {workers} workers", restarts=n_restarts) as found:
        try:
            with Clients(versions, lambda: connect(target), rate=250) as clients:
                time.sleep(1)
                restart_in_turn(servers, n_restarts, flags=flags)
        finally:
            for server in servers:
                server.stop()
        outcome = clients.outcome
        found.update(requests=sum(outcome.codes.values()), errors=outcome.n_failed, rate=round(outcome.rate))
    assert outcome.rate >= 100, "invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []


def test_t2_control_without_drain_and_retries_restarts_cause_errors(versions, tmp_path) -> None:
    servers = [ServerProcess(versions.models, tmp_path / f"log{i}", *FLAGS, port=free_port()) for i in range(2)]
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    try:
        with Clients(versions, lambda: connect(target, retries=False)) as clients:
            time.sleep(1)
            restart_in_turn(servers, 2, signal.SIGKILL)
    finally:
        for server in servers:
            server.stop()
    assert clients.outcome.n_failed > 0


def test_sigint_drains_like_sigterm(versions, tmp_path) -> None:
    for flags in (FLAGS, (*FLAGS, "--workers", "2")):
        server = ServerProcess(versions.models, tmp_path / "log", *flags)
        children = psutil.Process(server.pid).children(recursive=True)
        started = time.monotonic()
        assert server.stop(signal.SIGINT) == 0
        assert time.monotonic() - started >= 0.5  # the drain delay
        until(lambda children=children: not any(map(is_alive, children)), 10, "every process of the server ends")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_in_a_terminal_drains_and_leaves_no_stack_trace(versions, tmp_path, workers) -> None:
    flags = ("--drain-delay-s", "1", "--grace-s", "5", "--poll-interval-s", "0")
    flags = (*flags, "--workers", str(workers)) if workers > 1 else flags
    server = ServerProcess(versions.models, tmp_path / "log", *flags)
    children = psutil.Process(server.pid).children(recursive=True)
    request = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=versions.user_ids[0]))
    with connect(f"127.0.0.1:{server.port}", retries=False, balanced=False) as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        os.killpg(server.pid, signal.SIGINT)  # a terminal signals every process of the group
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert stub.Recommend(request, timeout=5).results, "calls are answered during the drain delay"
        assert server.process.wait(20) == 0
    until(lambda children=children: not any(map(is_alive, children)), 10, "every process of the server ends")
    assert "Traceback" not in server.text()
    assert "KeyboardInterrupt" not in server.text()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_while_it_starts_leaves_no_stack_trace_and_no_process(versions, tmp_path, workers) -> None:
    chance = np.random.default_rng(SEED)
    command = [sys.executable, "-m", "cofactor_server", "--models", str(versions.models), "--port", "0"]
    for attempt in range(20 if FULL else 2):
        log = tmp_path / f"log{attempt}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--provider", "cpu", "--workers", str(workers), *FLAGS],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        # Until then Python handles the signal, not the server.
        until(lambda pid=process.pid: handles_signal(pid, signal.SIGINT), 10, "Python has started")
        until(lambda pid=process.pid: not handles_signal(pid, signal.SIGINT), 10, "the command has begun")
        time.sleep(chance.uniform(0, 2))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) in (0, -signal.SIGINT)
        until(lambda pid=process.pid: not group_exists(pid), 10, "its processes have ended")
        assert "Traceback" not in log.read_text(), log.read_text()


def handles_signal(pid: int, number: int) -> bool:
    """Return True if a process has a handler for a signal, as Python has for SIGINT from its start."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1)


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def worker_pids(server: ServerProcess) -> list[int]:
    """Return the ids of the workers; multiprocessing's resource tracker is not one of them."""
    children = psutil.Process(server.pid).children()
    return [child.pid for child in children if any("spawn_main" in part for part in child.cmdline())]


def test_t3_a_killed_worker_is_replaced_without_errors_for_retrying_clients(versions, tmp_path) -> None:
    n_kills = 20 if FULL else 4
    recoveries = []
    with (
        figures("T3", kills=n_kills) as found,
        ServerProcess(versions.models, tmp_path / "log", *FLAGS, "--workers", "2") as server,
    ):
        target = f"127.0.0.1:{server.port}"
        chance = np.random.default_rng(SEED)
        with Clients(versions, lambda: connect(target), rate=250) as clients:
            time.sleep(0.5)
            for kill in range(n_kills):
                ready_before = server.text().count("server: listening")
                victim = int(chance.choice(worker_pids(server)))
                os.kill(victim, signal.SIGKILL)
                recoveries.append(
                    until(
                        lambda n=ready_before: server.text().count("server: listening") > n,
                        20,
                        f"worker {kill} is back",
                    )
                )
                time.sleep(1.2)
        outcome = clients.outcome
        found.update(
            requests=sum(outcome.codes.values()),
            errors=outcome.n_failed,
            rate=round(outcome.rate),
            slowest_worker_start_s=round(max(recoveries), 2),
            longest_gap_s=round(outcome.longest_gap_s(), 2),
        )
    assert outcome.rate >= 100, "invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []
    # The clients get responses from the other worker until the new one has loaded the model.
    assert outcome.longest_gap_s() <= 2.0


def test_t3_control_with_one_process_a_kill_causes_errors(versions, tmp_path) -> None:
    with ServerProcess(versions.models, tmp_path / "log", *FLAGS) as server:
        target = f"127.0.0.1:{server.port}"
        with Clients(versions, lambda: connect(target), n_clients=4, rate=200) as clients:
            time.sleep(0.5)
            os.kill(server.pid, signal.SIGKILL)
            time.sleep(0.5)
    assert clients.outcome.n_failed > 0


def test_t4_calls_to_a_hanging_worker_end_at_their_deadlines(versions, tmp_path) -> None:
    stopped_s, deadline_s = (5.0, 0.5) if FULL else (2.0, 0.5)
    request = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=versions.user_ids[0]))
    late, seconds, codes = [], [], set()
    with (
        figures("T4", stopped_s=stopped_s, deadline_s=deadline_s) as found,
        ServerProcess(versions.models, tmp_path / "log", *FLAGS, "--workers", "2") as server,
    ):
        workers = worker_pids(server)
        channels, stubs = [], []
        while not all(is_connected(worker, server.port) for worker in workers):
            assert len(channels) < 64, "the kernel spreads connections over the workers"
            channels.append(connect(f"127.0.0.1:{server.port}", retries=False, balanced=False))
            stubs.append(recommender_pb2_grpc.RecommenderServiceStub(channels[-1]))
            stubs[-1].Recommend(request, timeout=10)
        hung = workers[0]
        os.kill(hung, signal.SIGSTOP)
        ended = time.monotonic() + stopped_s
        try:
            while time.monotonic() < ended:
                for stub in stubs:
                    started = time.monotonic()
                    try:
                        stub.Recommend(request, timeout=deadline_s)
                    except grpc.RpcError as error:
                        codes.add(error.code().name)
                        late.append(time.monotonic() - started - deadline_s)
                    else:
                        seconds.append(time.monotonic() - started)
        finally:
            os.kill(hung, signal.SIGCONT)
        until(lambda: all(is_answered(stub, request) for stub in stubs), 10, "the worker answers again")
        for channel in channels:
            channel.close()
        found.update(
            answered=len(seconds), expired=len(late), latest_ms=round(1e3 * max(late, default=0)), kept=len(late) > 0
        )
    assert late, "control: at least one connection belongs to the hanging worker"
    assert codes == {"DEADLINE_EXCEEDED"}
    assert seconds, "the other worker still answers"
    assert_on_time(late)


def is_connected(worker: int, port: int) -> bool:
    """Return True if a client is connected to this worker."""
    connections = psutil.Process(worker).net_connections("tcp")
    return any(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in connections)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_answered(stub: recommender_pb2_grpc.RecommenderServiceStub, request: recommender_pb2.RecommendRequest) -> bool:
    try:
        stub.Recommend(request, timeout=1)
    except grpc.RpcError:
        return False
    return True


def private_copies(folder) -> list[str]:
    return [path.relative_to(folder).parts[0] for path in files_below(folder) if path.name == "tables.bin"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_next_server_removes_the_copies_of_a_killed_one(versions, tmp_path, workers) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    flags = (*FLAGS, "--workers", str(workers)) if workers > 1 else FLAGS

    def start(log):
        return ServerProcess(versions.models, tmp_path / log, *flags, environment={"TMPDIR": str(temporary)})

    with start("first") as first, start("other"):
        assert len(private_copies(temporary)) == 2
        children = psutil.Process(first.pid).children(recursive=True)
        first.stop(signal.SIGKILL)
        assert len(private_copies(temporary)) == 2, "control: the killed server leaves its copy"
        # Workers without a supervisor drain; until they end, they use the copy.
        psutil.wait_procs(children, 20)
        for _ in range(2 if FULL else 1):
            with start("next"):
                assert len(private_copies(temporary)) == 2, "the copies of the next server and of the other one"
    assert [path for path in temporary.iterdir() if path.name.startswith("cofactor-")] == []
