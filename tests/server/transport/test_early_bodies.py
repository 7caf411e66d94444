"""Calls get a thread with their body: one that never comes holds nothing up."""

from __future__ import annotations

import contextlib
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor.v1.recommender_pb2 import RecommendRequest, RecommendResponse, SimilarItemsRequest, User
from cofactor_server.transport import early_bodies as bodies
from cofactor_server.transport import thread_pools as admission
from tests.support.waiting import until

RECOMMEND = "/cofactor.v1.RecommenderService/Recommend"
CHECK = "/grpc.health.v1.Health/Check"
REQUEST = RecommendRequest(user=User(user_id="u003"))


@contextlib.contextmanager
def calls_without_bodies(channel, n_calls):
    """Calls of methods with one request, of which the headers have been sent and nothing more."""
    closing = threading.Event()

    def nothing():
        closing.wait(60)
        yield from ()

    calls = [channel.stream_unary(method).future(nothing()) for method in (RECOMMEND, CHECK) for _ in range(n_calls)]
    try:
        yield calls
    finally:
        for call in calls:
            call.cancel()
        closing.set()


def check(api, timeout):
    return health_pb2_grpc.HealthStub(api.channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout).status


def test_this_grpcio_is_one_that_bodies_are_asked_of_early() -> None:
    assert bodies.AVAILABLE


def test_callers_that_send_no_body_hold_nobody_up(serve, served_models) -> None:
    api = serve(served_models, model="dot", threads=4, max_queue_size=8)
    with calls_without_bodies(api.channel, 40):
        for _ in range(20):
            assert api.recommender.Recommend(REQUEST, timeout=20).results
            assert check(api, 20) == health_pb2.HealthCheckResponse.SERVING
    assert api.recommender.Recommend(REQUEST, timeout=20).results


def test_the_control_grpcios_own_way_is_held_up(serve, served_models, monkeypatch) -> None:
    monkeypatch.setattr(bodies, "AVAILABLE", False)
    api = serve(served_models, model="dot", threads=4, max_queue_size=8)
    assert api.recommender.Recommend(REQUEST, timeout=20).results, "it still answers"
    with calls_without_bodies(api.channel, 40):
        until(lambda: api.server._pools[2].n_held == 40)
        with pytest.raises(grpc.RpcError) as caught:
            check(api, 1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: api.server._pools[2].n_held == 0)
    assert check(api, 20) == health_pb2.HealthCheckResponse.SERVING


def test_a_call_that_ends_without_a_request_is_told_so(serve, served_models) -> None:
    api = serve(served_models, model="dot")
    call = api.channel.stream_unary(RECOMMEND, response_deserializer=RecommendResponse.FromString)
    with pytest.raises(grpc.RpcError) as caught:
        call(iter(()), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "exactly one request" in caught.value.details()
    assert api.recommender.Recommend(REQUEST, timeout=20).results


def test_two_requests_where_one_belongs_get_one_answer(serve, served_models) -> None:
    api = serve(served_models, model="dot")
    call = api.channel.stream_unary(
        RECOMMEND, RecommendRequest.SerializeToString, response_deserializer=RecommendResponse.FromString
    )
    assert call(iter([REQUEST, REQUEST]), timeout=20).results
    assert api.recommender.Recommend(REQUEST, timeout=20).results


def test_a_call_cancelled_while_it_waits_for_a_thread_never_runs(serve, served_models) -> None:
    api = serve(served_models, model="dot", threads=1)
    engine = api.server.repository.versions["dot"][0].engine
    similar_items, opened, n_runs = engine.similar_items, threading.Event(), []

    def hold(*arguments):
        n_runs.append(1)
        opened.wait(20)
        return similar_items(*arguments)

    engine.similar_items = hold
    request = SimilarItemsRequest(item_ids=["i001"])
    first = api.recommender.SimilarItems.future(request, timeout=30)
    until(lambda: n_runs)
    cancelled = [api.recommender.SimilarItems.future(request, timeout=30) for _ in range(5)]
    until(lambda: api.server._pools[0].n_held == 6)
    for call in cancelled:
        call.cancel()
    # On the same connection, and so after the news of the others.
    last = api.recommender.SimilarItems.future(request, timeout=30)
    until(lambda: api.server._pools[0].n_held == 7)
    opened.set()
    assert first.result().results
    assert last.result().results
    assert len(n_runs) == 2


def test_large_bodies_are_refused_before_they_fill_the_memory(serve, served_models, monkeypatch) -> None:
    monkeypatch.setattr(admission, "MOST_HELD_BYTES", 10 * 2**20)
    api = serve(served_models, model="dot", threads=1)
    pool = api.server._pools[0]
    opened, n_runs = threading.Event(), []
    engine = api.server.repository.versions["dot"][0].engine
    similar_items = engine.similar_items

    def hold(*arguments):
        n_runs.append(1)
        opened.wait(30)
        return similar_items(*arguments)

    engine.similar_items = hold
    holding = api.recommender.SimilarItems.future(SimilarItemsRequest(item_ids=["i001"]), timeout=60)
    until(lambda: n_runs)
    send = api.channel.unary_unary("/cofactor.v1.RecommenderService/Predict")
    large = [send.future(b"\x0a" + bytes(3 * 2**20), timeout=60) for _ in range(6)]
    until(lambda: sum(call.done() for call in large) == 3)
    assert pool.n_held == 4
    refused = [call for call in large if call.done()]
    assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    opened.set()
    assert holding.result().results
    assert {call.code() for call in large if call not in refused} == {grpc.StatusCode.INVALID_ARGUMENT}
    until(lambda: pool.n_held == 0)
    assert pool._held_bytes == 0
