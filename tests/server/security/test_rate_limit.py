"""The rate limit of a client, and the error for a client that exceeds it."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cofactor.v1 import catalog_pb2
from cofactor.v1.recommender_pb2 import BatchRecommendRequest, RecommendRequest, StreamRecommendRequest, User
from cofactor_server.config import ServerConfig
from cofactor_server.security.access_control import AccessControl
from cofactor_server.security.rate_limit import MAX_CLIENTS, RateLimiter
from cofactor_server.services.call_costs import call_costs
from cofactor_server.services.open_inference.messages import message_type
from cofactor_server.transport.metering import paced

REQUEST = RecommendRequest(user=User(user_id="u003"), page_size=2)


def test_a_client_gets_its_burst_and_then_its_rate() -> None:
    now = [0.0]
    limiter = RateLimiter(rate=2.0, burst=3, clock=lambda: now[0])
    assert [limiter.acquire("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.acquire("a") == pytest.approx(0.5)
    assert limiter.acquire("b") == 0, "every client has its own bucket"
    now[0] = 0.5
    assert limiter.acquire("a") == 0
    assert limiter.acquire("a") > 0
    now[0] = 1000.0
    assert [limiter.acquire("a") for _ in range(4)].count(0) == 3, "a pause fills the bucket, no more"


def test_refused_calls_take_no_tokens() -> None:
    now = [0.0]
    limiter = RateLimiter(rate=1.0, burst=1, clock=lambda: now[0])
    limiter.acquire("a")
    assert all(limiter.acquire("a") > 0 for _ in range(100))
    now[0] = 1.0
    assert limiter.acquire("a") == 0


def test_a_charge_beyond_the_bucket_makes_the_next_call_wait() -> None:
    now = [0.0]
    limiter = RateLimiter(rate=2.0, burst=3, clock=lambda: now[0])
    assert limiter.acquire("a") == 0
    limiter.charge("a", 9)  # ten requests in one call, seven more than the bucket has
    assert limiter.acquire("a") == pytest.approx((1 + 7) / 2)
    assert limiter.acquire("b") == 0
    now[0] = 4.0
    assert limiter.acquire("a") == 0


def test_a_stream_is_read_no_faster_than_the_rate_limit_allows() -> None:
    now = [0.0]
    limiter = RateLimiter(rate=2.0, burst=3, clock=lambda: now[0])

    def sleep(seconds):
        now[0] += seconds

    assert limiter.acquire("a") == 0  # for the call itself
    bodies = paced(map(bytes, range(8)), lambda: limiter.acquire("a"), lambda: True, sleep)
    passed = [(len(body), now[0]) for body in bodies]
    assert [number for number, _ in passed] == list(range(8))
    assert [time for _, time in passed] == pytest.approx([0, 0, 0, 0.5, 1, 1.5, 2, 2.5])


def test_a_stream_that_waits_ends_with_its_call() -> None:
    is_active = [True]

    def sleep(_seconds):
        is_active[0] = False

    assert list(paced(iter([b"1", b"2"]), lambda: 60.0, lambda: is_active[0], sleep)) == [b"1"]


def assert_refused(api) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_messages_of_a_stream_count_as_calls(serve, served_models) -> None:
    api = serve(served_models, rate_limit=0.001, rate_burst=4)
    api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10)
    requests = (StreamRecommendRequest(request_id=str(number), request=REQUEST) for number in range(100))
    stream = api.recommender.StreamRecommend(requests, timeout=60)
    assert [next(stream).request_id for _ in range(3)] == ["0", "1", "2"]
    assert_refused(api)
    stream.cancel()


def test_a_stream_goes_on_when_its_client_may_send_again(serve, served_models) -> None:
    api = serve(served_models, rate_limit=50, rate_burst=1)
    requests = [StreamRecommendRequest(request_id=str(number), request=REQUEST) for number in range(5)]
    responses = api.recommender.StreamRecommend(iter(requests), timeout=60)
    assert [response.request_id for response in responses] == ["0", "1", "2", "3", "4"]


def test_the_entries_of_a_batch_count_as_calls(serve, served_models) -> None:
    api = serve(served_models, rate_limit=0.001, rate_burst=4)
    for n_entries in (1, 3):
        request = BatchRecommendRequest(requests=[REQUEST] * n_entries)
        assert len(api.recommender.BatchRecommend(request, timeout=10).entries) == n_entries
    assert_refused(api)


def test_a_batch_of_more_than_the_burst_is_answered(serve, served_models) -> None:
    api = serve(served_models, rate_limit=0.001, rate_burst=4)
    response = api.recommender.BatchRecommend(BatchRecommendRequest(requests=[REQUEST] * 20), timeout=10)
    assert all(entry.HasField("response") for entry in response.entries)
    assert_refused(api)


@pytest.mark.parametrize(("graph", "cost"), [("dot.recommend", 5), ("dot.predict", 1)])
def test_the_users_of_an_open_inference_call_count_as_calls(graph, cost) -> None:
    request = message_type("ModelInferRequest")(model_name=graph)
    request.inputs.add(name="user_id", datatype="BYTES", shape=[5])
    costs = call_costs(ServerConfig(models="models", max_requests_per_batch=100))
    assert costs["/inference.GRPCInferenceService/ModelInfer"](request) == cost
    request.inputs[0].shape[0] = 2**60
    assert costs["/inference.GRPCInferenceService/ModelInfer"](request) == {5: 100, 1: 1}[cost]


def test_many_clients_cost_bounded_memory() -> None:
    limiter = RateLimiter(rate=1.0, burst=1)
    for client in range(MAX_CLIENTS + 1000):
        limiter.acquire(str(client))
    assert len(limiter._buckets) == MAX_CLIENTS


def test_one_address_has_one_limit_for_all_its_ports() -> None:
    class Context:
        def __init__(self, peer):
            self._peer = peer

        def peer(self):
            return self._peer

    access_control = AccessControl(rate_limiter=RateLimiter(rate=0.001, burst=1))
    access_control.admit("/cofactor.v1.CatalogService/GetModel", Context("ipv4:10.0.0.7:1"))
    with pytest.raises(Exception, match="slow down"):
        access_control.admit("/cofactor.v1.CatalogService/GetModel", Context("ipv4:10.0.0.7:2"))
    access_control.admit("/cofactor.v1.CatalogService/GetModel", Context("ipv6:[::1]:2"))


def test_the_error_of_the_rate_limit_says_when_to_retry(serve, served_models) -> None:
    api = serve(served_models, rate_limit=0.5, rate_burst=3)
    for _ in range(3):
        api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10)
    with pytest.raises(grpc.RpcError) as refused:
        api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=10)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = dict(refused.value.trailing_metadata())
    details = status_pb2.Status.FromString(metadata["grpc-status-details-bin"]).details
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in details)
    assert info.reason == "RATE_LIMITED"
    assert any(detail.Unpack(retry) for detail in details)
    assert 0 < retry.retry_delay.ToMilliseconds() <= 2000
