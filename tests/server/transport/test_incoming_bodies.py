"""Test that bodies which never end cost bounded memory and keep nobody out."""

from __future__ import annotations

import contextlib
import threading

import grpc
import psutil
import pytest

from cofactor.v1 import recommender_pb2_grpc
from cofactor.v1.recommender_pb2 import RecommendRequest, User
from cofactor_server.transport import incoming_bodies
from tests.support.raw_http2 import RawConnection
from tests.support.server_process import ServerProcess
from tests.support.waiting import until

PREDICT = "/cofactor.v1.RecommenderService/Predict"
WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"
LARGEST = 4 * 2**20
N_CALLS = 300
N_SLOTS = incoming_bodies.MAX_INCOMING_BYTES // LARGEST
# On a busy machine it takes longer than the default to send so many bodies.
PATIENT_SERVER = """
import sys
from cofactor_server.__main__ import main
from cofactor_server.transport import incoming_bodies
incoming_bodies.PATIENCE_S = 3600.0
sys.exit(main())
"""
REQUEST = RecommendRequest(user=User(user_id="u003"))


@pytest.fixture
def few_slots(monkeypatch):
    """Let a server take four bodies at a time."""
    monkeypatch.setattr(incoming_bodies, "MAX_INCOMING_BYTES", 4 * LARGEST)


def is_let_in(raw, n_bodies):
    """Send what may be sent; return True once the server has let in this many bodies, all but their last bytes."""
    raw.pump()
    return len(raw.unsent) <= n_bodies


@pytest.mark.parametrize("method", [PREDICT, CHECK, WATCH])
def test_hundreds_of_bodies_without_their_last_bytes_take_bounded_memory(dot_version, versions, tmp_path, method):
    versions.copy(dot_version, tmp_path / "models")
    flags = ("--drain-delay-s", "0", "--grace-s", "1")
    with ServerProcess(tmp_path / "models", tmp_path / "log", *flags, program=("-c", PATIENT_SERVER)) as process:
        server = psutil.Process(process.pid)
        with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            recommend = recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend
            assert recommend(REQUEST, timeout=60).results
            before = server.memory_info().rss
            for _ in range(2):  # what the first caller has held is free when it has gone
                with RawConnection(process.port) as raw:
                    most = memory_under_attack(server, raw, method, recommend)
                assert most - before < 1.5 * incoming_bodies.MAX_INCOMING_BYTES + N_CALLS * 2**17


def memory_under_attack(server, raw, method, recommend):
    """Open calls without their last bytes, and good ones of another caller; return the most memory of the server."""
    for _ in range(N_CALLS):
        raw.open_call(method, LARGEST, n_missing=16)
    most = 0

    def n_let_in():
        """Send what the server lets in; return the number of bodies that it has let in and not refused."""
        nonlocal most
        raw.pump()
        most = max(most, server.memory_info().rss)
        return N_CALLS - len(raw.unsent) - len(raw.ended)

    until(lambda: n_let_in() >= N_SLOTS, 120)
    for _ in range(10):  # the server has time to let in more, and does not
        raw.ping()
        call = recommend.future(REQUEST, timeout=60)
        until(lambda call=call: n_let_in() > 2 * N_SLOTS or call.done(), 60)
        assert n_let_in() <= 2 * N_SLOTS, "some may have given way, and the news of it is on its way"
        assert call.result().results
    return most


def test_a_slow_body_is_read_to_its_end_while_nobody_waits(serve, served_models, few_slots, monkeypatch) -> None:
    monkeypatch.setattr(incoming_bodies, "PATIENCE_S", 0.0)
    monkeypatch.setattr(incoming_bodies, "PATIENCE_WITH_MANY_S", 0.0)
    api = serve(served_models, model="dot")
    with RawConnection(api.server.port) as raw:
        slow = [raw.open_call(PREDICT, 2**20, n_missing=1) for _ in range(3)]
        until(lambda: is_let_in(raw, 0), 60)
        for _ in range(50):
            assert api.recommender.Recommend(REQUEST, timeout=60).results
        assert len(api.server.pools.bodies) == 3
        for number in slow:
            raw.finish(number, 1)
        until(lambda: raw.pump() or raw.ended == {*slow}, 60)  # INVALID_ARGUMENT: the zeros are no message
    until(lambda: len(api.server.pools.bodies) == 0, 60)


def test_slow_bodies_give_way_to_other_connections(serve, served_models, few_slots, monkeypatch) -> None:
    monkeypatch.setattr(incoming_bodies, "PATIENCE_S", 3600.0)
    api = serve(served_models, model="dot")
    bodies = api.server.pools.bodies
    with RawConnection(api.server.port) as raw:
        numbers = [raw.open_call(PREDICT, 2**20, n_missing=1) for _ in range(10)]
        until(lambda: raw.pump() or (len(bodies), bodies.n_waiting) == (4, 6), 60)
        for n_calls in range(1, 5):
            call = api.recommender.Recommend.future(REQUEST, timeout=60)
            until(lambda call=call: raw.pump() or call.done(), 60)
            assert call.result().results
            assert len(raw.ended) <= 2 * n_calls, "each call drives out one body, or another while it waits for that"
        until(lambda: raw.pump() or len(raw.ended) >= 1, 60)
        assert raw.ended < {*numbers}
    until(lambda: (len(bodies), bodies.n_waiting) == (0, 0), 60)


def test_slow_bodies_give_way_to_calls_of_the_same_connection_after_a_longer_time(
    serve, served_models, few_slots, monkeypatch
) -> None:
    monkeypatch.setattr(incoming_bodies, "PATIENCE_S", 0.3)
    api = serve(served_models, model="dot")
    closing = contextlib.ExitStack()
    with closing:
        slow = [api.channel.stream_unary(PREDICT).future(_no_requests(closing), timeout=120) for _ in range(12)]
        for _ in range(20):
            assert api.recommender.Recommend(REQUEST, timeout=60).results
        until(lambda: any(call.done() for call in slow), 60)
        ended = next(call for call in slow if call.done())
        assert ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "came slowly" in ended.details()
        for call in slow:
            call.cancel()


def _no_requests(closing):
    """Return a stream of requests that says nothing until the test is over."""
    over = threading.Event()
    closing.callback(over.set)

    def requests():
        over.wait(120)
        yield from ()

    return requests()


def test_calls_beyond_those_that_may_wait_are_refused(serve, served_models, few_slots, monkeypatch) -> None:
    monkeypatch.setattr(incoming_bodies, "MAX_WAITING", 5)
    monkeypatch.setattr(incoming_bodies, "PATIENCE_S", 3600.0)
    api = serve(served_models, model="dot")
    with RawConnection(api.server.port) as raw:
        numbers = [raw.open_call(PREDICT, 2**20, n_missing=1) for _ in range(12)]
        until(lambda: raw.pump() or raw.ended == {*numbers[9:]}, 60)
        assert (len(api.server.pools.bodies), api.server.pools.bodies.n_waiting) == (4, 5)
    until(lambda: (len(api.server.pools.bodies), api.server.pools.bodies.n_waiting) == (0, 0), 60)
    assert api.recommender.Recommend(REQUEST, timeout=60).results


def test_large_bodies_of_many_honest_calls_all_get_their_responses(serve, served_models, few_slots) -> None:
    api = serve(served_models, model="dot")
    send = api.channel.unary_unary(PREDICT)
    calls = [send.future(b"\x0a" + bytes(2**20), timeout=120) for _ in range(40)]
    assert {call.code() for call in calls} == {grpc.StatusCode.INVALID_ARGUMENT}  # read to the end, then parsed
