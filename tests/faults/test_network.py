"""T12: delay, narrow bandwidth, resets, silence, lost packets and a partition between clients and two servers.

The first four come from a proxy (link.py); the last two are packets that the kernel drops, in a network namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from tests.support.checking_clients import Clients
from tests.support.figures import FULL, figures
from tests.support.lateness import assert_on_time
from tests.support.network import UNPROTECTED, BadLink, Witness, connect_as_shipped, start_servers
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

IN_NAMESPACE = ("unshare", "--net", "--map-root-user")


@pytest.fixture(scope="module")
def behind_links(source, tmp_path_factory):
    """(versions, links) of two servers; the links are healthy before each test that heals them after."""
    versions, servers = start_servers(source, tmp_path_factory.mktemp("network"))
    links = [BadLink(server.port) for server in servers]
    yield versions, links
    for link in links:
        link.close()
    for server in servers:
        server.stop()


def ports_of(links) -> list[int]:
    return [link.port for link in links]


def request_for(versions) -> recommender_pb2.RecommendRequest:
    return recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=versions.user_ids[0]), page_size=10)


def test_t12_delay_costs_time_and_nothing_else(behind_links) -> None:
    versions, links = behind_links
    seconds = 20 if FULL else 2
    with figures("T12 delay", delay_ms="50±20 each way") as found:
        for link in links:
            link("delay 0.05 0.02")
        try:
            with Clients(versions, lambda: connect_as_shipped(ports_of(links)), rate=120) as clients:
                time.sleep(seconds)
            late = deadlines_within(links, versions, 0.1, 100 if FULL else 8)
        finally:
            for link in links:
                link("heal")
        outcome = clients.outcome
        p50, p99 = np.quantile(outcome.seconds, [0.5, 0.99])
        found.update(requests=outcome.n_ok, errors=outcome.n_failed, p50_ms=round(1e3 * p50), p99_ms=round(1e3 * p99))
        found.update(deadline_ms=100, expired=len(late), latest_ms=round(1e3 * max(late)))
    assert outcome.n_ok >= 50 * seconds, "an invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []
    assert p50 >= 0.06, "the control: the delay is there"
    assert_on_time(late)


def deadlines_within(links, versions, deadline_s: float, n_calls: int, limit_s: float = 60.0) -> list[float]:
    """How late calls end whose deadline lies in the middle of the round trips: `n_calls` of them, others answered."""
    late, codes, n_ok, began = [], set(), 0, time.monotonic()
    with connect_as_shipped(ports_of(links)) as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        stub.Recommend(request_for(versions), timeout=10)
        while len(late) < n_calls or n_ok == 0:
            started = time.monotonic()
            assert started - began < limit_s, f"{len(late)} calls late, {n_ok} answered"
            try:
                stub.Recommend(request_for(versions), timeout=deadline_s)
                n_ok += 1
            except grpc.RpcError as error:
                late.append(time.monotonic() - started - deadline_s)
                codes.add(error.code())
    assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
    return late


def test_t12_a_narrow_link_is_slow_and_makes_no_errors(behind_links) -> None:
    versions, links = behind_links
    one = recommender_pb2.RecommendRequest(user=request_for(versions).user, page_size=100, return_items=True)
    request = recommender_pb2.BatchRecommendRequest(requests=[one] * 20)
    taken = []
    with figures("T12 bandwidth", bytes_per_s=250_000) as found, connect_as_shipped(ports_of(links)) as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        size = stub.BatchRecommend(request, timeout=10).ByteSize()
        started = time.monotonic()
        stub.BatchRecommend(request, timeout=10)
        alone_s = time.monotonic() - started
        for link in links:
            link("rate 250000")
        try:
            for _ in range(20 if FULL else 2):
                started = time.monotonic()
                answer = stub.BatchRecommend(request, timeout=10)
                taken.append(time.monotonic() - started)
                assert len(answer.entries) == 20
        finally:
            for link in links:
                link("heal")
        found.update(answer_bytes=size, alone_s=round(alone_s, 3), seconds=round(float(np.median(taken)), 3))
    assert min(taken) >= size / 250_000, "the control: the link is narrow"
    assert max(taken) <= 2 * size / 250_000 + 1


def test_t12_resets_are_retried(behind_links) -> None:
    versions, links = behind_links
    n_resets = 20 if FULL else 3
    with figures("T12 resets", resets=n_resets) as found:
        protected = Clients(versions, lambda: connect_as_shipped(ports_of(links)), rate=120)
        bare = Clients(versions, lambda: connect_as_shipped(ports_of(links), *UNPROTECTED), n_clients=8)
        with protected, bare:
            for reset in range(n_resets):
                time.sleep(0.5)
                links[reset % 2]("reset")
            time.sleep(0.5)
        found.update(requests=protected.outcome.n_ok, errors=protected.outcome.n_failed)
        found.update(errors_without_retries=bare.outcome.n_failed)
    assert protected.outcome.n_failed == 0, protected.outcome.errors[:5]
    assert protected.outcome.wrong == []
    assert bare.outcome.n_failed > 0, "the control: without retries a reset is noticed"


def test_t12_a_silent_server_costs_its_calls_their_deadline_and_the_other_answers(behind_links) -> None:
    versions, links = behind_links
    silent_s, timeout_s = (20.0, 1.0) if FULL else (1.5, 0.5)
    with figures("T12 silence", silent_s=silent_s, deadline_s=timeout_s) as found:
        with Witness(versions, ports_of(links), n_clients=8, rate=100, timeout_s=timeout_s) as witness:
            time.sleep(1)
            links[0]("stall")
            began = time.monotonic()
            time.sleep(silent_s)
            links[0]("heal")
            healed = time.monotonic()
            until(lambda: witness.reconnected_s("1", healed) < 60, 30, "every client is answered by both again")
        outcome = witness.clients.outcome
        reconnected_s = witness.reconnected_s("1", healed)
        noticed_s = max(outcome.failed_times, default=began) - began
        found.update(requests=outcome.n_ok, codes=dict(outcome.codes))
        found.update(noticed_s=round(noticed_s, 1), reconnected_s=round(reconnected_s, 2))
    assert witness.n_answers("1", began + 0.2, healed) == 0, "the control: it is silent"
    assert witness.n_answers("2", began, healed) >= 10 * silent_s
    assert set(outcome.codes) <= {"OK", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
    assert outcome.wrong == []
    assert reconnected_s <= 5
    # Keepalive: a ping after 10 s of silence, given up 5 s later; then only the other server is asked.
    assert noticed_s <= 15 + timeout_s + 1


@pytest.mark.skipif(not FULL, reason="takes 45 s: full form only")
def test_t12_the_pings_of_an_idle_client_are_not_too_many(behind_links) -> None:
    _, links = behind_links
    hasty = (("grpc.keepalive_time_ms", 1000), ("grpc.http2.max_pings_without_data", 0))
    seen = []
    channels = [connect_as_shipped(ports_of(links)[:1], *options) for options in ((), hasty)]
    for channel in channels:
        seen.append([])
        channel.subscribe(seen[-1].append, try_to_connect=True)
    time.sleep(45)
    for channel in channels:
        channel.close()
    assert seen[0].count(grpc.ChannelConnectivity.READY) == 1
    assert seen[1].count(grpc.ChannelConnectivity.READY) > 1, "the control: who pings each second is turned away"


def can_drop_packets() -> str:
    """Why packets cannot be dropped in a network namespace of our own here; empty where they can."""
    missing = [tool for tool in ("unshare", "ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"there is no {', '.join(missing)}"
    script = (
        "ip link set lo up && nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; }'"
    )
    tried = subprocess.run([*IN_NAMESPACE, "sh", "-c", script], capture_output=True, text=True)
    return tried.stderr.strip() or f"exit code {tried.returncode}" if tried.returncode else ""


def test_t12_lost_packets_and_a_partition(source, tmp_path) -> None:
    problem = can_drop_packets()
    if problem:
        pytest.skip(f"T12, loss and partition: packets cannot be dropped here: {problem}")
    done = subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-m", "tests.support.lost_packets", source, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    loss, partition = map(json.loads, done.stdout.splitlines())
    for found in (loss, partition):
        assert found["requests"] >= 30 * found["seconds"], "an invalid run: too few requests"
        assert (found["errors"], found["wrong"]) == (0, 0), done.stderr
    assert loss["dropped_packets"] > 0, "the control: packets are lost"
    assert partition["answers_across"] == 0, "the control: nothing passes"
    assert partition["errors_unprotected"] > 0, "the control: without keepalive and retries it is noticed"
    assert partition["slowest_s"] <= partition["keepalive_timeout_s"] + 2
    assert partition["reconnected_s"] <= 5
