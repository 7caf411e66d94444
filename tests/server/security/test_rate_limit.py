"""The rate limit of a client, and the error for a client that exceeds it."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cofactor.v1 import catalog_pb2
from cofactor_server.security.access_control import AccessControl
from cofactor_server.security.rate_limit import MAX_CLIENTS, RateLimiter


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
