"""Deadlines, headers and cancellation pass through the gateway: seen by a gRPC server that waits."""

from __future__ import annotations

import json
import socket
import threading
from concurrent import futures
from urllib.parse import urlsplit

import grpc
import pytest

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc
from tests.support.web import run_gateway


class WaitingCatalog(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers GetModel at once, and ListModels when it is allowed to or cancelled."""

    def __init__(self):
        self.metadata = {}
        self.seconds_left = 0.0
        self.started, self.ended, self.may_end = threading.Event(), threading.Event(), threading.Event()

    def GetModel(self, _request, context):  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        self.seconds_left = context.time_remaining()
        return catalog_pb2.GetModelResponse()

    def ListModels(self, _request, context):  # noqa: N802
        context.add_callback(lambda: (self.ended.set(), self.may_end.set()))
        self.started.set()
        self.may_end.wait(30)
        return catalog_pb2.ListModelsResponse(next_page_token="more")


@pytest.fixture
def waiting():
    """A server of the class above with a gateway; returns (servicer, gateway)."""
    servicer = WaitingCatalog()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with run_gateway(f"127.0.0.1:{port}", timeout_s=20) as gateway:
        yield servicer, gateway
        servicer.may_end.set()
    server.stop(None).wait(10)


def test_token_request_id_and_trace_headers_are_passed_on(waiting):
    servicer, gateway = waiting
    sent = {
        "authorization": "Bearer abc",
        "x-request-id": "mine",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "a=b",
    }
    answer = gateway.post(
        "/v1/get-model", **{name.replace("-", "_"): value for name, value in sent.items()}, cookie="a"
    )
    assert answer.status == 200
    assert {name: servicer.metadata.get(name) for name in sent} == sent
    assert "cookie" not in servicer.metadata
    assert 19 < servicer.seconds_left <= 20


def test_the_deadline_of_the_request_is_that_of_the_call(waiting):
    servicer, gateway = waiting
    gateway.post("/v1/get-model", x_timeout_ms="7000")
    assert 6 < servicer.seconds_left <= 7
    late = gateway.post("/v1/list-models", x_timeout_ms="100")
    assert late.status == 504
    assert servicer.ended.wait(10)


def test_the_call_is_cancelled_if_the_client_hangs_up(waiting):
    servicer, gateway = waiting
    body = json.dumps({}).encode()
    head = f"POST /v1/list-models HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    with socket.create_connection((urlsplit(gateway.url).hostname, urlsplit(gateway.url).port)) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        assert servicer.started.wait(10)
        assert not servicer.ended.is_set()
    assert servicer.ended.wait(10)
    assert gateway.post("/v1/get-model").status == 200


def test_a_call_that_takes_its_time_gets_its_response(waiting):
    servicer, gateway = waiting
    answers = []
    caller = threading.Thread(target=lambda: answers.append(gateway.post("/v1/list-models")))
    caller.start()
    assert servicer.started.wait(10)
    servicer.may_end.set()
    caller.join(10)
    assert answers[0].json["nextPageToken"] == "more"


def test_a_body_that_ends_early_is_no_call(waiting):
    servicer, gateway = waiting
    head = b"POST /v1/list-models HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"
    with socket.create_connection((urlsplit(gateway.url).hostname, urlsplit(gateway.url).port)) as connection:
        connection.sendall(head)
    assert gateway.post("/v1/get-model").status == 200
    assert not servicer.started.is_set()
