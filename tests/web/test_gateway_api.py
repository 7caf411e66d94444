"""The JSON API gives what gRPC gives: the same responses, and the same reasons for failures."""

from __future__ import annotations

import hashlib
import json
import socket

import pytest
from google.protobuf import json_format

from cofactor_web.rpcs import api_rpcs
from tests.support.web import run_gateway

HISTORY = {"ratings": [{"itemId": "i003", "rating": 5}, {"itemId": "i010", "rating": 1.5}]}
# One request for each RPC; a new RPC fails the test below until it has one.
REQUESTS = {
    "/v1/predict": {"user": {"userId": "u001"}, "itemIds": ["i001", "nothing"], "allowPartialSuccess": True},
    "/v1/recommend": {"user": {"history": HISTORY}, "pageSize": 5, "returnItems": True, "diversity": 0.5},
    "/v1/similar-items": {"itemIds": ["i003"], "pageSize": 3},
    "/v1/embed-new-user": {"ratings": HISTORY["ratings"], "skipUnknownItems": True},
    "/v1/embed-new-item": {"item": {"genres": ["Drama"]}, "ratings": [{"userId": "u001", "rating": 4}]},
    "/v1/batch-recommend": {"requests": [{"user": {"userId": "u001"}}, {"user": {"userId": "nobody"}}]},
    "/v1/explain": {"user": {"userId": "u001"}, "itemId": "i005", "ranking": "RANKING_PREDICTED_RATING"},
    "/v1/get-model": {"model": {"name": "profile"}},
    "/v1/list-models": {"pageSize": 1},
    "/v1/search-items": {"query": "film", "pageSize": 3},
    "/v1/list-top-items": {"order": "ORDER_MOST_RATED"},
    "/v1/get-item-map": {"maxItems": 20},
    "/v1/record-events": {
        "events": [{"userId": "u001", "itemId": "i003", "eventType": "view", "time": "2026-01-02T03:04:05Z"}]
    },
}
UNIQUE = {"recommendationId"}


def without_ids(value):
    """Return a response without what differs from call to call."""
    if isinstance(value, dict):
        return {name: without_ids(content) for name, content in value.items() if name not in UNIQUE}
    return [without_ids(entry) for entry in value] if isinstance(value, list) else value


def problem_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    assert answer.json["requestId"] == answer.headers["x-request-id"]
    return answer.json


@pytest.mark.parametrize("rpc", api_rpcs(), ids=lambda rpc: rpc.method.name)
def test_every_rpc_has_a_route_with_the_same_response_as_grpc(rpc, gateway, stubs):
    body = REQUESTS[rpc.path]
    stub = getattr(stubs[rpc.method.containing_service.name], rpc.method.name)
    request = json_format.ParseDict(body, rpc.request_class())
    stub(request)  # the first RecordEvents with an event has another response than the later ones
    answer = gateway.post(rpc.path, body)
    response = stub(request)
    expected = json_format.MessageToDict(response, always_print_fields_with_no_presence=True)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert without_ids(answer.json) == without_ids(expected)


def test_an_empty_body_is_the_empty_message(gateway):
    assert gateway.post("/v1/get-model").json["model"]["name"] == "dot"


def test_an_embedding_travels_through_json_unchanged(gateway):
    embedding = gateway.post("/v1/embed-new-user", {"ratings": HISTORY["ratings"]}).json["embedding"]
    by_embedding, by_history = (
        gateway.post("/v1/recommend", {"user": user, "pageSize": 20}).json["results"]
        for user in ({"embedding": embedding}, {"history": HISTORY})
    )
    assert [result["itemId"] for result in by_embedding] == [result["itemId"] for result in by_history]


def test_a_prediction_of_an_unknown_item_is_the_string_nan(gateway):
    answer = gateway.post("/v1/predict", REQUESTS["/v1/predict"]).json
    assert answer["ratings"][1] == "NaN"
    assert answer["errors"][0]["reason"] == "ITEM_NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "body", "status", "reason", "field"),
    [
        ("/v1/recommend", {"user": {"userId": "nobody"}}, 404, "USER_NOT_FOUND", "user.user_id"),
        ("/v1/recommend", {"user": {"userId": "u001"}, "pageSize": -1}, 400, "INVALID_FIELD", "page_size"),
        ("/v1/similar-items", {"itemIds": ["i000", "x"]}, 404, "ITEM_NOT_FOUND", "item_ids[1]"),
        ("/v1/get-model", {"model": {"name": "other"}}, 404, "MODEL_NOT_FOUND", "model"),
        ("/v1/recommend", {"user": {"embedding": {"embeddingSpace": "x"}}}, 400, "EMBEDDING_SPACE_MISMATCH", None),
        ("/v1/recommend", {"usr": {}}, 400, "MALFORMED_REQUEST", "usr"),
    ],
)
def test_a_failure_is_a_problem_with_the_reason_of_grpc(path, body, status, reason, field, gateway):
    answer = gateway.post(path, body)
    problem = problem_of(answer)
    assert (answer.status, problem["reason"]) == (status, reason)
    assert problem["type"] == f"urn:cofactor:error:{reason}"
    assert problem["title"]
    assert problem["detail"]
    if field is not None:
        assert [violation["field"] for violation in problem["violations"]] == [field]


@pytest.mark.parametrize("body", [b"{", b'{"pageSize": NaN}', b"\xff", b'"text"', b"[" * 5000, b'{"a": 1}x'])
def test_what_is_not_a_json_message_is_refused(body, gateway):
    answer = gateway.request("POST", "/v1/recommend", body, content_type="application/json")
    assert (answer.status, problem_of(answer)["reason"]) == (400, "MALFORMED_REQUEST")


def test_other_media_types_methods_and_paths_are_problems(gateway):
    form = gateway.request("POST", "/v1/recommend", b"a=1", content_type="application/x-www-form-urlencoded")
    assert (form.status, problem_of(form)["reason"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    read = gateway.get("/v1/recommend")
    assert (read.status, read.headers["allow"], problem_of(read)["reason"]) == (405, "POST", "METHOD_NOT_ALLOWED")
    absent = gateway.post("/v1/stream-recommend", {})
    assert (absent.status, problem_of(absent)["reason"]) == (404, "ROUTE_NOT_FOUND")
    charset = gateway.request("POST", "/v1/get-model", b"{}", content_type="Application/JSON; charset=utf-8")
    assert charset.status == 200


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(server_address):
    with run_gateway(server_address, max_body_bytes=1000) as gateway:
        body = json.dumps({"user": {"userId": "u" * 2000}}).encode()
        known = gateway.request("POST", "/v1/recommend", body, content_type="application/json")
        chunks = iter([body[:900], body[900:]])
        unknown = gateway.request("POST", "/v1/recommend", chunks, content_type="application/json")
        for answer in (known, unknown):
            assert (answer.status, problem_of(answer)["reason"]) == (413, "BODY_TOO_LARGE")


def test_the_request_id_is_the_callers_own_or_a_new_one(gateway):
    assert gateway.post("/v1/get-model", x_request_id="abc-1").headers["x-request-id"] == "abc-1"
    made = {gateway.post("/v1/get-model", x_request_id=bad).headers["x-request-id"] for bad in ("a b", "x" * 200)}
    assert len(made) == 2
    assert not made & {"a b", "x" * 200}


@pytest.mark.parametrize("timeout", ["0", "-1", "60001", "soon", "1.5", "9" * 30])
def test_a_wrong_timeout_is_a_problem_that_names_the_header(timeout, gateway):
    problem = problem_of(gateway.post("/v1/get-model", x_timeout_ms=timeout))
    assert (problem["reason"], problem["violations"][0]["field"]) == ("INVALID_FIELD", "X-Timeout-Ms")


def test_a_long_response_is_compressed_for_those_who_accept_it(gateway):
    body = {"itemIds": ["i003"], "pageSize": 119, "returnItems": True}
    plain = gateway.post("/v1/similar-items", body)
    packed = gateway.post("/v1/similar-items", body, accept_encoding="br, gzip")
    assert plain.json == packed.json
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3


def test_the_token_of_the_visitor_is_the_one_that_the_server_checks(dot_version, tmp_path):
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    digest = hashlib.sha256(b"a" * 64).hexdigest()
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[clients.page]\nsha256 = "{digest}"\nmethods = ["cofactor.v1.CatalogService/GetModel"]\n')
    config = ServerConfig(models=dot_version.parents[1], model="dot", port=0, provider="cpu", tokens=tokens)
    with create_server(config) as server, run_gateway(f"127.0.0.1:{server.port}") as gateway:
        missing = gateway.post("/v1/get-model")
        assert (missing.status, problem_of(missing)["reason"]) == (401, "UNAUTHENTICATED")
        assert missing.headers["www-authenticate"] == "Bearer"
        assert gateway.post("/v1/get-model", authorization="Bearer \xe9").status == 401
        given = {"authorization": f"Bearer {'a' * 64}"}
        assert gateway.post("/v1/get-model", **given).json["model"]["name"] == "dot"
        other = gateway.post("/v1/list-models", **given)
        assert (other.status, problem_of(other)["reason"]) == (403, "PERMISSION_DENIED")


def test_the_gateway_is_healthy_while_its_server_is_away():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nothing listens there
        with run_gateway(f"127.0.0.1:{unused.getsockname()[1]}") as gateway:
            assert gateway.get("/healthz").status == 200
            assert gateway.get("/api/health").json["server"] == "UNREACHABLE"
            answer = gateway.post("/v1/get-model")
            assert (answer.status, problem_of(answer)["reason"]) == (503, "SERVER_UNREACHABLE")


def test_the_streaming_rpc_is_the_only_one_without_a_route(stubs):
    services = {rpc.method.containing_service for rpc in api_rpcs()}
    assert {service.name for service in services} == stubs.keys()
    methods = {method.name for service in services for method in service.methods}
    assert methods - {rpc.method.name for rpc in api_rpcs()} == {"StreamRecommend"}
