"""Test that calls get their thread together with their body, so that callers without bodies block nobody."""

from __future__ import annotations

import contextlib
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor.v1.recommender_pb2 import RecommendRequest, RecommendResponse, SimilarItemsRequest, User
from cofactor_server.transport import early_bodies, thread_pools
from tests.support.waiting import until

RECOMMEND = "/cofactor.v1.RecommenderService/Recommend"
CHECK = "/grpc.health.v1.Health/Check"
REQUEST = RecommendRequest(user=User(user_id="u003"))


@contextlib.contextmanager
def calls_without_bodies(channel, n_calls):
    """Open calls of Recommend and Check, `n_calls` each, that send their headers and nothing more."""
    closing = threading.Event()

    def no_requests():
        closing.wait(60)
        yield from ()

    calls = [
        channel.stream_unary(method).future(no_requests()) for method in (RECOMMEND, CHECK) for _ in range(n_calls)
    ]
    try:
        yield calls
    finally:
        for call in calls:
            call.cancel()
        closing.set()


def check(api, timeout):
    return health_pb2_grpc.HealthStub(api.channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout).status


def test_the_installed_grpcio_supports_early_bodies() -> None:
    assert early_bodies.AVAILABLE


def test_callers_that_send_no_body_block_nobody(serve, served_models) -> None:
    api = serve(served_models, model="dot", threads=4, max_queue_size=8)
    with calls_without_bodies(api.channel, 40):
        for _ in range(20):
            assert api.recommender.Recommend(REQUEST, timeout=20).results
            assert check(api, 20) == health_pb2.HealthCheckResponse.SERVING
    assert api.recommender.Recommend(REQUEST, timeout=20).results


def test_control_without_early_bodies_such_callers_block_health_checks(serve, served_models, monkeypatch) -> None:
    monkeypatch.setattr(early_bodies, "AVAILABLE", False)
    api = serve(served_models, model="dot", threads=4, max_queue_size=8)
    assert api.recommender.Recommend(REQUEST, timeout=20).results, "the server still answers"
    with calls_without_bodies(api.channel, 40):
        until(lambda: api.server.pools.control.n_calls == 40)
        with pytest.raises(grpc.RpcError) as caught:
            check(api, 1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: api.server.pools.control.n_calls == 0)
    assert check(api, 20) == health_pb2.HealthCheckResponse.SERVING


def test_a_call_that_ends_without_a_request_is_unimplemented(serve, served_models) -> None:
    api = serve(served_models, model="dot")
    call = api.channel.stream_unary(RECOMMEND, response_deserializer=RecommendResponse.FromString)
    with pytest.raises(grpc.RpcError) as caught:
        call(iter(()), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "exactly one request" in caught.value.details()
    assert api.recommender.Recommend(REQUEST, timeout=20).results


def test_two_requests_in_a_unary_call_get_one_response(serve, served_models) -> None:
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

    def wait_and_rank(*arguments):
        n_runs.append(1)
        opened.wait(20)
        return similar_items(*arguments)

    engine.similar_items = wait_and_rank
    request = SimilarItemsRequest(item_ids=["i001"])
    first = api.recommender.SimilarItems.future(request, timeout=30)
    until(lambda: n_runs)
    cancelled = [api.recommender.SimilarItems.future(request, timeout=30) for _ in range(5)]
    until(lambda: api.server.pools.calls.n_calls == 6)
    for call in cancelled:
        call.cancel()
    # On the same connection, so the server learns of the cancellations first.
    last = api.recommender.SimilarItems.future(request, timeout=30)
    until(lambda: api.server.pools.calls.n_calls == 7)
    opened.set()
    assert first.result().results
    assert last.result().results
    assert len(n_runs) == 2


def test_large_bodies_are_refused_before_they_fill_the_memory(serve, served_models, monkeypatch) -> None:
    monkeypatch.setattr(thread_pools, "MAX_BODY_BYTES", 10 * 2**20)
    api = serve(served_models, model="dot", threads=1)
    pool = api.server.pools.calls
    opened, n_runs = threading.Event(), []
    engine = api.server.repository.versions["dot"][0].engine
    similar_items = engine.similar_items

    def wait_and_rank(*arguments):
        n_runs.append(1)
        opened.wait(30)
        return similar_items(*arguments)

    engine.similar_items = wait_and_rank
    running = api.recommender.SimilarItems.future(SimilarItemsRequest(item_ids=["i001"]), timeout=60)
    until(lambda: n_runs)
    send = api.channel.unary_unary("/cofactor.v1.RecommenderService/Predict")
    large = [send.future(b"\x0a" + bytes(3 * 2**20), timeout=60) for _ in range(6)]
    until(lambda: sum(call.done() for call in large) == 3)
    assert pool.n_calls == 4
    refused = [call for call in large if call.done()]
    assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    opened.set()
    assert running.result().results
    assert {call.code() for call in large if call not in refused} == {grpc.StatusCode.INVALID_ARGUMENT}
    until(lambda: pool.n_calls == 0)
    assert pool._n_body_bytes == 0
