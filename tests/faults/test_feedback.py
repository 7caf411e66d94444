"""A killed server, a full disk: no event that was acknowledged is lost, and no retry counts twice."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from cofactor.v1 import feedback_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from tests.support.calls import details_of
from tests.support.checking_clients import connect
from tests.support.feedback import event, request
from tests.support.figures import FULL, SEED, figures
from tests.support.server_process import ServerProcess, free_port
from tests.support.small_disks import small_disk
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

FLAGS = ("--drain-delay-s", "0", "--grace-s", "2", "--poll-interval-s", "0", "--no-pin-workers")
N_CLIENTS = 4
EVENTS_PER_CALL = 20
FILLER = "filler"


class Recorder:
    """A client that sends events one call after another, and every call until it is acknowledged.

    Attributes:
        acknowledged: the item ids of the events of the calls that were.
        codes: the codes of the calls that failed.
    """

    def __init__(self, target: str, user_id: str) -> None:
        self._target = target
        self._user_id = user_id
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: list[str] = []
        self.codes: set[grpc.StatusCode] = set()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        with connect(self._target, retries=False, balanced=False) as channel:
            stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
            while not self._stopping.is_set():
                items = [f"item {number}-{index}" for index in range(EVENTS_PER_CALL)]
                self._send(stub, [event(self._user_id, item) for item in items], items)
                number += 1

    def _send(self, stub, events, items) -> None:
        while not self._stopping.is_set():
            try:
                stub.RecordEvents(request(events), timeout=10)
            except grpc.RpcError as error:
                self.codes.add(error.code())
                time.sleep(0.02)
            else:
                self.acknowledged += items
                return


@contextmanager
def recorders(target: str) -> Iterator[list[Recorder]]:
    clients = [Recorder(target, f"user {number}") for number in range(N_CLIENTS)]
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()


def logged(log: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(log)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute("SELECT user_id, item_id FROM events").fetchall()
    assert len(rows) == len(set(rows)), "an event is there twice"
    return set(rows)


def assert_nothing_is_lost(log: Path, clients: list[Recorder], found: dict[str, object]) -> None:
    there = logged(log)
    acknowledged = {(client._user_id, item) for client in clients for item in client.acknowledged}
    lost = acknowledged - there
    # The last call of each client may have been recorded without its acknowledgement.
    beyond = {(user_id, item_id) for user_id, item_id in there - acknowledged if user_id != FILLER}
    found.update(acknowledged=len(acknowledged), lost=len(lost), not_acknowledged=len(beyond))
    assert acknowledged, "invalid run: nothing was acknowledged"
    assert lost == set()
    assert len(beyond) <= N_CLIENTS * EVENTS_PER_CALL


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(versions, tmp_path, workers) -> None:
    n_kills = 20 if FULL else 3 if workers == 1 else 1
    chance = np.random.default_rng(SEED)
    log, port = tmp_path / "feedback.sqlite", free_port()
    flags = (*FLAGS, "--feedback-log", str(log), *(("--workers", str(workers)) if workers > 1 else ()))
    with figures(f"feedback log, killed, {workers} workers", kills=n_kills) as found:
        server = ServerProcess(versions.models, tmp_path / "server.log", *flags, port=port)
        with recorders(f"127.0.0.1:{port}") as clients:
            for _ in range(n_kills):
                before = sum(len(client.acknowledged) for client in clients)
                until(lambda before=before: sum(len(c.acknowledged) for c in clients) > before + 200, 60, "events")
                time.sleep(chance.uniform(0, 0.3))
                kill(server)
                server = ServerProcess(versions.models, tmp_path / "server.log", *flags, port=port)
            before = sum(len(client.acknowledged) for client in clients)
            until(lambda: sum(len(c.acknowledged) for c in clients) > before, 60, "the last server records")
        assert server.stop() == 0
        assert_nothing_is_lost(log, clients, found)


def kill(server: ServerProcess) -> None:
    """Kill a server with its workers at this moment."""
    processes = [server.process, *psutil.Process(server.pid).children(recursive=True)]
    for process in processes:
        process.kill()
    server.process.wait(20)
    until(lambda: not any(psutil.pid_exists(p.pid) and is_running(p.pid) for p in processes), 20, "all are gone")


def is_running(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_acknowledged_is_lost_on_a_full_disk_and_recommendations_go_on(versions, tmp_path) -> None:
    n_times, port = 20 if FULL else 2, free_port()
    target = f"127.0.0.1:{port}"
    with small_disk(tmp_path / "disk", "24m") as disk, figures("feedback log, full disk", times=n_times) as found:
        flags = (*FLAGS, "--feedback-log", str(disk / "log"))
        server = ServerProcess(versions.models, tmp_path / "server.log", *flags, port=port)
        with recorders(target) as clients:
            for time_number in range(n_times):
                fill(disk / "ballast")
                with connect(target, retries=False, balanced=False) as channel:
                    assert_disk_is_reported(channel)
                assert "the feedback log cannot be written: its disk is full; recommendations go on" in server.text()
                if time_number % 2:
                    kill(server)  # it has to start and to recommend while the disk is full
                    server = ServerProcess(versions.models, tmp_path / "server.log", *flags, port=port)
                    with connect(target, retries=False, balanced=False) as channel:
                        assert_disk_is_reported(channel)
                (disk / "ballast").unlink()
                before = sum(len(client.acknowledged) for client in clients)
                until(lambda before=before: sum(len(c.acknowledged) for c in clients) > before, 20, "it recovers")
                until(lambda server=server: "the feedback log is written again" in server.text(), 5, "it says so")
        assert {code for client in clients for code in client.codes} == {grpc.StatusCode.UNAVAILABLE}
        assert server.stop() == 0
        assert_nothing_is_lost(disk / "log", clients, found)


def assert_disk_is_reported(channel: grpc.Channel) -> None:
    """Check that events are refused for the full disk, and that recommendations are not."""
    error = refusal_of(channel)
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert details_of(error)["ErrorInfo"].reason == "FEEDBACK_LOG_UNAVAILABLE"
    assert "its disk is full" in error.details()
    stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
    user = recommender_pb2.User(user_id="u003")
    assert stub.Recommend(recommender_pb2.RecommendRequest(user=user), timeout=10).results


def fill(ballast: Path) -> None:
    """Fill the disk to the last byte."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 65536):
                pass
        except OSError:
            pass
        try:
            while file.write(b"x" * 512):
                pass
        except OSError:
            return


def refusal_of(channel: grpc.Channel) -> grpc.RpcError:
    """Send events until the disk is so full that they are refused, and return that error."""
    stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
    for number in range(2000):
        try:
            stub.RecordEvents(request([event(FILLER, f"item {number} {n}") for n in range(100)]), timeout=10)
        except grpc.RpcError as error:
            return error
    raise AssertionError("the disk does not get full")
