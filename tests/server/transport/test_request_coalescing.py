"""Test that calls that arrive together run as one batch, and that every call gets its own response or error."""

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
from cofactor_server.transport.method_handlers import CallLifecycle
from cofactor_server.transport.request_coalescing import MAX_COALESCED, CoalescingQueue
from tests.support.waiting import until


class DoublingMethod:
    """Doubles even numbers, and refuses odd ones.

    Attributes:
        batch_sizes: the number of requests in every batch so far.
        gate: batches wait until it is set.
    """

    def __init__(self):
        self.batch_sizes = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False
        self.is_on = True

    def should_coalesce(self):
        return self.is_on

    def answer_batch(self, requests):
        self.batch_sizes.append(len(requests))
        self.gate.wait(10)
        if self.fails:
            raise RuntimeError("poison")
        return [InvalidField("number", "is odd") if number % 2 else b"%d" % (2 * number) for number in requests]


def parse(body):
    if not body.isdigit():
        raise MalformedRequest("Number")
    return int(body)


@pytest.fixture
def method():
    return DoublingMethod()


@pytest.fixture
def queue(method):
    return CoalescingQueue(parse, method)


def test_the_first_thread_answers_all_calls_that_have_arrived(queue, method) -> None:
    calls = [queue.add(b"%d" % number) for number in (2, 4, 6)]
    assert [queue.get_response(call) for call in reversed(calls)] == [b"12", b"8", b"4"]
    assert method.batch_sizes == [3]


def test_every_call_gets_its_own_error(queue) -> None:
    good, odd, malformed = (queue.add(body) for body in (b"2", b"3", b"x"))
    assert queue.get_response(good) == b"4"
    with pytest.raises(InvalidField, match="odd"):
        queue.get_response(odd)
    with pytest.raises(MalformedRequest):
        queue.get_response(malformed)


def test_a_single_call_is_left_to_its_own_thread(queue, method) -> None:
    assert queue.get_response(queue.add(b"2")) is None
    assert method.batch_sizes == []


def test_no_calls_are_coalesced_while_that_does_not_pay(queue, method) -> None:
    method.is_on = False
    calls = [queue.add(b"2"), queue.add(b"4")]
    assert [queue.get_response(call) for call in calls] == [None, None]
    assert method.batch_sizes == []


def test_a_call_whose_thread_never_comes_does_not_stay_in_the_queue(queue, method) -> None:
    """Such a call is cancelled after its body has arrived and before its thread runs."""
    queue.add(b"2")
    assert queue.get_response(queue.add(b"4")) == b"8"
    assert method.batch_sizes == [2]
    method.is_on = False
    queue.add(b"2")
    assert not queue._waiting


def test_the_calls_of_a_failed_batch_run_alone(queue, method, caplog) -> None:
    method.fails = True
    calls = [queue.add(b"2"), queue.add(b"4")]
    assert [queue.get_response(call) for call in calls] == [None, None]
    assert "a batch of 2 calls failed" in caplog.text


def test_a_removed_call_is_not_answered(queue, method) -> None:
    removed, first, second = (queue.add(body) for body in (b"2", b"4", b"6"))
    assert queue.remove(removed)
    assert queue.get_response(first) == b"8"
    assert method.batch_sizes == [2]
    assert not queue.remove(second)


def test_a_thread_whose_call_is_in_a_running_batch_waits_for_the_response(queue, method) -> None:
    method.gate.clear()
    calls = [queue.add(b"2"), queue.add(b"4")]
    with ThreadPoolExecutor(2) as pool:
        responses = [pool.submit(queue.get_response, call) for call in calls]
        while not method.batch_sizes:
            pass
        method.gate.set()
        assert [response.result(10) for response in responses] == [b"4", b"8"]
    assert method.batch_sizes == [2]


def test_a_batch_has_a_largest_size(queue, method) -> None:
    calls = [queue.add(b"%d" % (2 * number)) for number in range(3 * MAX_COALESCED)]
    responses = [queue.get_response(call) for call in calls]
    assert responses == [b"%d" % (4 * number) for number in range(3 * MAX_COALESCED)]
    assert method.batch_sizes == [MAX_COALESCED] * 3


def test_many_threads_get_the_responses_to_their_own_calls(queue) -> None:
    def call(number):
        return queue.get_response(queue.add(b"%d" % (2 * number)))

    with ThreadPoolExecutor(16) as pool:
        for number, response in zip(range(2000), pool.map(call, range(2000)), strict=True):
            assert response in (None, b"%d" % (4 * number))


def request_for(number):
    return recommender_pb2.RecommendRequest(
        user=recommender_pb2.User(user_id=f"u{number:03}"), page_size=1 + number % 7, include_rated=number % 2 == 0
    )


def test_coalesced_calls_get_the_responses_that_they_would_get_alone(serve, served_models) -> None:
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
        assert [result.item_id for result in results] == [result.item_id for result in alone[number]]
        expected = [result.score for result in alone[number]]
        assert [result.score for result in results] == pytest.approx(expected, rel=1e-5)
    assert {call.code() for call in unknown} == {grpc.StatusCode.NOT_FOUND}
    ids = [call.result().recommendation_id for _, call in calls]
    assert len(set(ids)) == len(ids)
    batches = api.server.reporter.report().totals.batches
    assert any(count for size, count in zip(SIZES, batches, strict=False) if size > 1)


def test_a_call_whose_deadline_has_passed_is_in_no_batch(serve, served_models, monkeypatch) -> None:
    """Its own thread sees the deadline first, and removes it from the queue."""
    begin = CallLifecycle.begin

    def begin_late(lifecycle, context):
        while 0 < context.time_remaining() < 1:
            time.sleep(0.005)
        begin(lifecycle, context)

    monkeypatch.setattr(CallLifecycle, "begin", begin_late)
    api = serve(served_models, model="dot", cache_mib=0)
    engine = api.server.repository.versions["dot"][0].engine
    recommend, n_users = engine.recommend, []

    def count(user_factors, *arguments):
        n_users.append(len(user_factors))
        return recommend(user_factors, *arguments)

    engine.recommend = count
    late = [api.recommender.Recommend.future(request_for(1), timeout=0.5) for _ in range(5)]
    assert {call.code() for call in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    until(lambda: not any(pool.n_calls for pool in api.server.pools))
    assert api.recommender.Recommend(request_for(2), timeout=30).results
    assert n_users == [1]


def test_a_server_with_tokens_coalesces_no_calls(serve, served_models, tmp_path) -> None:
    """A batch would read the bodies of calls whose tokens have not been checked."""
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
