"""Calls that arrive together are answered together: each gets its own answer, and its own error."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cofactor.v1 import recommender_pb2
from cofactor_server.errors import InvalidField, MalformedRequest
from cofactor_server.observability.counters import SIZES
from cofactor_server.transport import interceptor
from cofactor_server.transport.request_coalescing import MAX_COALESCED, CoalescingQueue
from tests.support.waiting import until


class Doubling:
    """Answers a number with its double; slow on demand, so that others arrive meanwhile."""

    def __init__(self):
        self.runs = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False
        self.is_on = True

    def joins(self):
        return self.is_on

    def answer_each(self, requests):
        self.runs.append(len(requests))
        self.gate.wait(10)
        if self.fails:
            raise RuntimeError("poison")
        return [InvalidField("number", "is odd") if each % 2 else b"%d" % (2 * each) for each in requests]


def parse(body):
    if not body.isdigit():
        raise MalformedRequest("Number")
    return int(body)


@pytest.fixture
def joint():
    return Doubling()


@pytest.fixture
def arrivals(joint):
    return CoalescingQueue(parse, joint)


def test_the_first_answers_all_that_have_arrived(arrivals, joint) -> None:
    calls = [arrivals.add(b"%d" % number) for number in (2, 4, 6)]
    assert [arrivals.answer(call) for call in reversed(calls)] == [b"12", b"8", b"4"]
    assert joint.runs == [3]


def test_each_is_told_its_own_error(arrivals) -> None:
    good, odd, malformed = (arrivals.add(body) for body in (b"2", b"3", b"x"))
    assert arrivals.answer(good) == b"4"
    with pytest.raises(InvalidField, match="odd"):
        arrivals.answer(odd)
    with pytest.raises(MalformedRequest):
        arrivals.answer(malformed)


def test_a_call_that_arrived_alone_is_left_to_its_thread(arrivals, joint) -> None:
    assert arrivals.answer(arrivals.add(b"2")) is None
    assert joint.runs == []


def test_nothing_is_joined_while_that_does_not_pay(arrivals, joint) -> None:
    joint.is_on = False
    calls = [arrivals.add(b"2"), arrivals.add(b"4")]
    assert [arrivals.answer(call) for call in calls] == [None, None]
    assert joint.runs == []


def test_a_call_whose_thread_never_comes_is_kept_by_nobody(arrivals, joint) -> None:
    """Cancelled between the arrival of its body and its thread's turn."""
    arrivals.add(b"2")
    assert arrivals.answer(arrivals.add(b"4")) == b"8"
    assert joint.runs == [2]
    joint.is_on = False
    arrivals.add(b"2")
    assert not arrivals._waiting


def test_after_a_run_that_failed_each_finds_out_for_itself(arrivals, joint, caplog) -> None:
    joint.fails = True
    calls = [arrivals.add(b"2"), arrivals.add(b"4")]
    assert [arrivals.answer(call) for call in calls] == [None, None]
    assert "a run of 2 calls failed" in caplog.text


def test_what_was_withdrawn_is_not_answered(arrivals, joint) -> None:
    gone, first, second = (arrivals.add(body) for body in (b"2", b"4", b"6"))
    assert arrivals.withdraw(gone)
    assert arrivals.answer(first) == b"8"
    assert joint.runs == [2]
    assert not arrivals.withdraw(second)


def test_a_thread_whose_call_another_has_taken_waits_for_the_answer(arrivals, joint) -> None:
    joint.gate.clear()
    calls = [arrivals.add(b"2"), arrivals.add(b"4")]
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(arrivals.answer, call) for call in calls]
        while not joint.runs:
            pass
        joint.gate.set()
        assert [answer.result(10) for answer in answers] == [b"4", b"8"]
    assert joint.runs == [2]


def test_a_run_has_a_largest_size(arrivals, joint) -> None:
    calls = [arrivals.add(b"%d" % (2 * number)) for number in range(3 * MAX_COALESCED)]
    assert [arrivals.answer(call) for call in calls] == [b"%d" % (4 * number) for number in range(3 * MAX_COALESCED)]
    assert joint.runs == [MAX_COALESCED] * 3


def test_many_threads_get_their_own_answers(arrivals) -> None:
    def call(number):
        return arrivals.answer(arrivals.add(b"%d" % (2 * number)))

    with ThreadPoolExecutor(16) as pool:
        for number, answer in zip(range(2000), pool.map(call, range(2000)), strict=True):
            assert answer in (None, b"%d" % (4 * number))


def request_for(number):
    return recommender_pb2.RecommendRequest(
        user=recommender_pb2.User(user_id=f"u{number:03}"), page_size=1 + number % 7, include_rated=number % 2 == 0
    )


def test_calls_that_arrive_together_get_what_each_would_get_alone(serve, served_models) -> None:
    api = serve(served_models, model="dot", cache_mib=0)
    assert api.server.repository.coalesces_calls
    numbers = [number % 40 for number in range(200)]
    random.Random(1).shuffle(numbers)
    alone = {number: api.recommender.Recommend(request_for(number)).results for number in set(numbers)}
    calls = [(number, api.recommender.Recommend.future(request_for(number), timeout=30)) for number in numbers]
    unknown = [
        api.recommender.Recommend.future(recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="nobody")))
        for _ in range(50)
    ]
    for number, call in calls:
        results = call.result().results
        assert [each.item_id for each in results] == [each.item_id for each in alone[number]]
        assert [each.score for each in results] == pytest.approx([each.score for each in alone[number]], rel=1e-5)
    assert {call.code() for call in unknown} == {grpc.StatusCode.NOT_FOUND}
    ids = [call.result().recommendation_id for _, call in calls]
    assert len(set(ids)) == len(ids)
    batches = api.server.reporter.report().totals.batches
    assert any(count for size, count in zip(SIZES, batches, strict=False) if size > 1)


def test_a_call_whose_time_is_up_is_not_answered_by_another(serve, served_models, monkeypatch) -> None:
    """Its thread finds out first, and takes it back."""
    begin = interceptor._Call.begin

    def begin_late(call, context):
        while 0 < context.time_remaining() < 1:
            time.sleep(0.005)
        begin(call, context)

    monkeypatch.setattr(interceptor._Call, "begin", begin_late)
    api = serve(served_models, model="dot", cache_mib=0)
    engine = api.server.repository.versions["dot"][0].engine
    recommend, n_users = engine.recommend, []

    def count(user_factors, *arguments):
        n_users.append(len(user_factors))
        return recommend(user_factors, *arguments)

    engine.recommend = count
    late = [api.recommender.Recommend.future(request_for(1), timeout=0.5) for _ in range(5)]
    assert {call.code() for call in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    until(lambda: not any(pool.n_held for pool in api.server._pools))
    assert api.recommender.Recommend(request_for(2), timeout=30).results
    assert n_users == [1]


def test_a_guarded_server_joins_no_calls(serve, served_models, tmp_path) -> None:
    """Whoever reads the body of another's call has not seen its token."""
    tokens = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"secret").hexdigest()
    tokens.write_text(f'[clients.web]\nsha256 = "{digest}"\nmethods = ["*"]\n')
    api = serve(served_models, model="dot", tokens=str(tokens))
    allowed = (("authorization", "Bearer secret"),)
    calls = [api.recommender.Recommend.future(request_for(3), metadata=allowed, timeout=30) for _ in range(100)]
    refused = [api.recommender.Recommend.future(request_for(3), timeout=30) for _ in range(100)]
    assert {call.code() for call in calls} == {grpc.StatusCode.OK}
    assert {call.code() for call in refused} == {grpc.StatusCode.UNAUTHENTICATED}
    assert sum(api.server.reporter.report().totals.batches) == 0
