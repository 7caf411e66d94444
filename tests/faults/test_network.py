"""T12: delay, low bandwidth, resets, silence, lost packets and a partition between clients and two servers.

A proxy causes the first four (link.py). For the last two the kernel drops packets in a network namespace.
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
from tests.support.networks.network import UNPROTECTED, BadLink, RecordingClients, connect_as_shipped, start_servers
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

IN_NAMESPACE = ("unshare", "--net", "--map-root-user")


@pytest.fixture(scope="module")
def behind_links(source, tmp_path_factory):
    """Start two servers behind links; every test gets healthy links and heals them afterwards."""
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


def test_t12_delay_causes_no_errors(behind_links) -> None:
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
    assert outcome.n_ok >= 50 * seconds, "invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []
    assert p50 >= 0.06, "control: the delay is real"
    assert_on_time(late)


def deadlines_within(links, versions, deadline_s: float, n_calls: int, limit_s: float = 60.0) -> list[float]:
    """Call with a deadline close to the median round trip; return how late `n_calls` expired calls ended."""
    late, codes, n_ok, began = [], set(), 0, time.monotonic()
    with connect_as_shipped(ports_of(links)) as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        stub.Recommend(request_for(versions), timeout=10)
        while len(late) < n_calls or n_ok == 0:
            started = time.monotonic()
            assert started - began < limit_s, f"{len(late)} calls expired, {n_ok} succeeded"
            try:
                stub.Recommend(request_for(versions), timeout=deadline_s)
                n_ok += 1
            except grpc.RpcError as error:
                late.append(time.monotonic() - started - deadline_s)
                codes.add(error.code())
    assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
    return late


def test_t12_low_bandwidth_causes_no_errors(behind_links) -> None:
    versions, links = behind_links
    entry = recommender_pb2.RecommendRequest(user=request_for(versions).user, page_size=100, return_items=True)
    request = recommender_pb2.BatchRecommendRequest(requests=[entry] * 20)
    seconds = []
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
                response = stub.BatchRecommend(request, timeout=10)
                seconds.append(time.monotonic() - started)
                assert len(response.entries) == 20
        finally:
            for link in links:
                link("heal")
        found.update(answer_bytes=size, alone_s=round(alone_s, 3), seconds=round(float(np.median(seconds)), 3))
    assert min(seconds) >= size / 250_000, "control: the bandwidth is low"
    assert max(seconds) <= 2 * size / 250_000 + 1


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
    assert bare.outcome.n_failed > 0, "control: without retries the resets cause errors"


def test_t12_calls_to_a_silent_server_expire_and_the_other_server_answers(behind_links) -> None:
    versions, links = behind_links
    silent_s, timeout_s = (20.0, 1.0) if FULL else (1.5, 0.5)
    with figures("T12 silence", silent_s=silent_s, deadline_s=timeout_s) as found:
        with RecordingClients(versions, ports_of(links), n_clients=8, rate=100, timeout_s=timeout_s) as clients:
            time.sleep(1)
            links[0]("stall")
            began = time.monotonic()
            time.sleep(silent_s)
            links[0]("heal")
            healed = time.monotonic()
            until(lambda: clients.reconnected_s("1", healed) < 60, 30, "both servers answer every client again")
        outcome = clients.outcome
        reconnected_s = clients.reconnected_s("1", healed)
        noticed_s = max(outcome.failed_times, default=began) - began
        found.update(requests=outcome.n_ok, codes=dict(outcome.codes))
        found.update(noticed_s=round(noticed_s, 1), reconnected_s=round(reconnected_s, 2))
    assert clients.n_responses("1", began + 0.2, healed) == 0, "control: the server is silent"
    assert clients.n_responses("2", began, healed) >= 10 * silent_s
    assert set(outcome.codes) <= {"OK", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
    assert outcome.wrong == []
    assert reconnected_s <= 5
    # Keepalive sends a ping after 10 s of silence and closes the connection 5 s later; then all calls go to the other.
    assert noticed_s <= 15 + timeout_s + 1


@pytest.mark.skipif(not FULL, reason="takes 45 s: full form only")
def test_t12_the_server_accepts_the_pings_of_an_idle_client(behind_links) -> None:
    _, links = behind_links
    too_many_pings = (("grpc.keepalive_time_ms", 1000), ("grpc.http2.max_pings_without_data", 0))
    seen = []
    channels = [connect_as_shipped(ports_of(links)[:1], *options) for options in ((), too_many_pings)]
    for channel in channels:
        seen.append([])
        channel.subscribe(seen[-1].append, try_to_connect=True)
    time.sleep(45)
    for channel in channels:
        channel.close()
    assert seen[0].count(grpc.ChannelConnectivity.READY) == 1
    assert seen[1].count(grpc.ChannelConnectivity.READY) > 1, "control: a client with a ping per second is disconnected"


def missing_for_packet_loss() -> str:
    """Return why this machine cannot drop packets in a network namespace; empty if it can."""
    missing = [tool for tool in ("unshare", "ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"there is no {', '.join(missing)}"
    script = (
        "ip link set lo up && nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; }'"
    )
    tried = subprocess.run([*IN_NAMESPACE, "sh", "-c", script], capture_output=True, text=True)
    return tried.stderr.strip() or f"exit code {tried.returncode}" if tried.returncode else ""


def test_t12_lost_packets_and_a_partition(source, tmp_path) -> None:
    problem = missing_for_packet_loss()
    if problem:
        pytest.skip(f"T12, loss and partition: packets cannot be dropped here: {problem}")
    done = subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-m", "tests.support.networks.lost_packets", source, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    loss, partition = map(json.loads, done.stdout.splitlines())
    for found in (loss, partition):
        assert found["requests"] >= 30 * found["seconds"], "invalid run: too few requests"
        assert (found["errors"], found["wrong"]) == (0, 0), done.stderr
    assert loss["dropped_packets"] > 0, "control: packets are lost"
    assert partition["answers_across"] == 0, "control: no packet passes"
    assert partition["errors_unprotected"] > 0, "control: without keepalive and retries there are errors"
    assert partition["slowest_s"] <= partition["keepalive_timeout_s"] + 2
    assert partition["reconnected_s"] <= 5
