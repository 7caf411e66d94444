"""T2, T3, T4: restarts, workers that are killed, workers that hang."""

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
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

FLAGS = ("--drain-delay-s", "0.5", "--grace-s", "2", "--poll-interval-s", "0")


def restart_in_turn(servers, n_restarts, number=signal.SIGTERM, flags=FLAGS) -> None:
    for restart in range(n_restarts):
        old = servers[restart % 2]
        code = old.stop(number)
        if number == signal.SIGTERM:
            assert code == 0
        servers[restart % 2] = ServerProcess(old.models, old.log, *flags, port=old.port)
        time.sleep(1.5)  # the clients find it again before the other one goes


@pytest.mark.parametrize("workers", [1, 2])
def test_t2_rolling_restarts_are_not_noticed(versions, tmp_path, workers) -> None:
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
    assert outcome.rate >= 100, "an invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []


def test_t2_control_without_drain_and_retries_restarts_are_noticed(versions, tmp_path) -> None:
    servers = [ServerProcess(versions.models, tmp_path / f"log{i}", *FLAGS, port=free_port()) for i in range(2)]
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    try:
        # As fast as they are answered, so that calls are under way whenever the server dies.
        with Clients(versions, lambda: connect(target, retries=False)) as clients:
            time.sleep(1)
            restart_in_turn(servers, 2, signal.SIGKILL)
    finally:
        for server in servers:
            server.stop()
    assert clients.outcome.n_failed > 0


def test_sigint_drains_as_sigterm_does(versions, tmp_path) -> None:
    for flags in (FLAGS, (*FLAGS, "--workers", "2")):
        server = ServerProcess(versions.models, tmp_path / "log", *flags)
        children = psutil.Process(server.pid).children(recursive=True)
        started = time.monotonic()
        assert server.stop(signal.SIGINT) == 0
        assert time.monotonic() - started >= 0.5  # the drain delay
        until(lambda children=children: not any(map(lives, children)), 10, "every process of the server ends")


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
        assert stub.Recommend(request, timeout=5).results, "calls are answered while clients go elsewhere"
        assert server.process.wait(20) == 0
    until(lambda children=children: not any(map(lives, children)), 10, "every process of the server ends")
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
        # Before that the signal meets Python itself, not the server.
        until(lambda pid=process.pid: catches(pid, signal.SIGINT), 10, "Python has started")
        until(lambda pid=process.pid: not catches(pid, signal.SIGINT), 10, "the command has begun")
        time.sleep(chance.uniform(0, 2))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) in (0, -signal.SIGINT)
        until(lambda pid=process.pid: not group_exists(pid), 10, "its processes end")
        assert "Traceback" not in log.read_text(), log.read_text()


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, as Python has for SIGINT from its start."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1)


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def worker_pids(server: ServerProcess) -> list[int]:
    """Workers, as opposed to multiprocessing's own resource tracker."""
    children = psutil.Process(server.pid).children()
    return [child.pid for child in children if any("spawn_main" in part for part in child.cmdline())]


def test_t3_a_killed_worker_is_replaced_and_retrying_clients_see_nothing(versions, tmp_path) -> None:
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
    assert outcome.rate >= 100, "an invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []
    # Recovery is that the clients are answered again; the new worker takes up its share when it has loaded the model.
    assert outcome.longest_gap_s() <= 2.0


def test_t3_control_with_one_process_a_kill_is_noticed(versions, tmp_path) -> None:
    with ServerProcess(versions.models, tmp_path / "log", *FLAGS) as server:
        target = f"127.0.0.1:{server.port}"
        with Clients(versions, lambda: connect(target), n_clients=4, rate=200) as clients:
            time.sleep(0.5)
            os.kill(server.pid, signal.SIGKILL)
            time.sleep(0.5)
    assert clients.outcome.n_failed > 0


def test_t4_a_worker_that_hangs_does_not_stretch_deadlines(versions, tmp_path) -> None:
    stopped_s, deadline_s = (5.0, 0.5) if FULL else (2.0, 0.5)
    request = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=versions.user_ids[0]))
    late, taken, codes = [], [], set()
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
                        taken.append(time.monotonic() - started)
        finally:
            os.kill(hung, signal.SIGCONT)
        until(lambda: all(answers(stub, request) for stub in stubs), 10, "the worker answers again")
        for channel in channels:
            channel.close()
        found.update(
            answered=len(taken), expired=len(late), latest_ms=round(1e3 * max(late, default=0)), kept=len(late) > 0
        )
    assert late, "the control: some connection belongs to the worker that hangs"
    assert codes == {"DEADLINE_EXCEEDED"}
    assert taken, "the other worker answers meanwhile"
    assert_on_time(late)


def is_connected(worker: int, port: int) -> bool:
    """Whether a client has a connection to this process of those that share the port."""
    connections = psutil.Process(worker).net_connections("tcp")
    return any(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in connections)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(stub: recommender_pb2_grpc.RecommenderServiceStub, request: recommender_pb2.RecommendRequest) -> bool:
    try:
        stub.Recommend(request, timeout=1)
    except grpc.RpcError:
        return False
    return True


def private_copies(folder) -> list[str]:
    return sorted(path.relative_to(folder).parts[0] for path in folder.rglob("tables.bin"))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_killed_server_leaves_on_the_disk_goes_when_the_next_one_starts(versions, tmp_path, workers) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    flags = (*FLAGS, "--workers", str(workers)) if workers > 1 else FLAGS

    def start(log):
        return ServerProcess(versions.models, tmp_path / log, *flags, environment={"TMPDIR": str(temporary)})

    with start("first") as first, start("other"):
        assert len(private_copies(temporary)) == 2
        children = psutil.Process(first.pid).children(recursive=True)
        first.stop(signal.SIGKILL)
        assert len(private_copies(temporary)) == 2, "the control: it is left"
        # Workers whose supervisor is gone drain; until then they hold the copy.
        psutil.wait_procs(children, 20)
        for _ in range(2 if FULL else 1):
            with start("next"):
                assert len(private_copies(temporary)) == 2, "of the next server and the other one"
    assert [path for path in temporary.iterdir() if path.name.startswith("cofactor-")] == []
