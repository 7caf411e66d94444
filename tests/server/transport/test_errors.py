"""Test how calls fail, alone, in batches and in streams: malformed bodies, page tokens, bugs in the server."""

from __future__ import annotations

import random
import re
from pathlib import Path

import grpc
import pytest

from cofactor.v1.catalog_pb2 import ListModelsRequest, ListTopItemsRequest, SearchItemsRequest
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    RecommendRequest,
    SimilarItemsRequest,
    StreamRecommendRequest,
    User,
    UserEmbedding,
)
from cofactor_server.errors import quoted
from tests.support.calls import call, details_of
from tools.docs.errors_page import documentation

KNOWN = User(user_id="u003")
METHODS = {
    "RecommenderService": [
        "Predict", "Recommend", "SimilarItems", "EmbedNewUser", "EmbedNewItem", "BatchRecommend", "StreamRecommend",
        "Explain",
    ],
    "CatalogService": ["GetModel", "ListModels", "SearchItems", "ListTopItems", "GetItemMap"],
    "FeedbackService": ["RecordEvents"],
}  # fmt: skip


def send_bytes(api, service, method, body):
    """Call a method with these bytes as the body; return the error, or None."""
    name = f"/cofactor.v1.{service}/{method}"
    try:
        if method == "StreamRecommend":
            for _ in api.channel.stream_stream(name)(iter([body]), timeout=20):
                pass
        else:
            api.channel.unary_unary(name)(body, timeout=20)
    except grpc.RpcError as error:
        return error
    return None


@pytest.mark.parametrize(("service", "method"), [(s, m) for s, methods in METHODS.items() for m in methods])
def test_a_body_that_is_no_message_is_an_invalid_argument(api, service, method):
    error = send_bytes(api, service, method, b"\xff\xff\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["ErrorInfo"].reason == "MALFORMED_REQUEST"
    assert f"{method}Request" in error.details()


@pytest.mark.parametrize(("service", "method"), [(s, m) for s, methods in METHODS.items() for m in methods])
def test_random_bodies_never_cause_an_internal_error(api, service, method):
    draw = random.Random(f"{method} 5")
    for _ in range(150):
        error = send_bytes(api, service, method, draw.randbytes(draw.randrange(1, 40)))
        assert error is None or error.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


def test_a_page_token_serves_only_the_request_it_was_made_for(api):
    token = api.recommender.Recommend(RecommendRequest(user=KNOWN, page_size=5)).next_page_token
    others = [
        RecommendRequest(user=KNOWN, page_size=6),
        RecommendRequest(user=User(user_id="u004"), page_size=5),
        RecommendRequest(user=KNOWN, page_size=5, diversity=0.5),
        RecommendRequest(user=KNOWN, page_size=5, model=ModelRef(name="net")),
        SimilarItemsRequest(item_ids=["i001"], page_size=5),
        ListModelsRequest(page_size=5),
    ]
    for request in others:
        request.page_token = token
        with pytest.raises(grpc.RpcError) as caught:
            call(api, type(request).__name__.removesuffix("Request"), request)
        assert details_of(caught.value)["ErrorInfo"].reason == "INVALID_PAGE_TOKEN"
        assert "other parameters" in caught.value.details()


def test_a_page_token_expires_with_its_version(dot_version, tmp_path, versions, serve):
    requests = [RecommendRequest(user=KNOWN, page_size=5), SearchItemsRequest(query="film"), ListTopItemsRequest()]
    before = serve(versions.copy(dot_version, tmp_path / "before", version="1").parents[1])
    after = serve(versions.copy(dot_version, tmp_path / "after", version="2").parents[1])
    for request in requests:
        method = type(request).__name__.removesuffix("Request")
        request.page_token = call(before, method, request).next_page_token
        assert call(before, method, request).next_page_token
        with pytest.raises(grpc.RpcError) as caught:
            call(after, method, request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert details_of(caught.value)["ErrorInfo"].reason == "PAGE_TOKEN_EXPIRED"


def test_a_bug_is_reported_as_internal_error_with_a_request_id_and_nothing_else(api, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret of /etc/passwd")

    monkeypatch.setattr(api.server.repository.versions["dot"][0].similar_items, "rank", broken)
    with pytest.raises(grpc.RpcError) as caught:
        api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i001"]))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    request_id = details_of(caught.value)["RequestInfo"].request_id
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    assert request_id in caplog.text  # the log has the cause, under the same id
    assert "secret" in caplog.text


def test_an_entry_of_a_batch_fails_alone(api):
    space = api.server.repository.versions["dot"][0].manifest.embedding_space
    embedded, from_another_space = (
        User(embedding=UserEmbedding(factors=[0.1] * 8, embedding_space=name)) for name in (space, "another")
    )
    wrong = [
        (RecommendRequest(user=User(user_id="nobody")), "USER_NOT_FOUND"),
        (RecommendRequest(user=KNOWN, model=ModelRef(name="net")), "INVALID_FIELD"),
        (RecommendRequest(user=KNOWN, page_token="x"), "INVALID_FIELD"),
        (RecommendRequest(), "INVALID_FIELD"),
        (RecommendRequest(user=from_another_space), "EMBEDDING_SPACE_MISMATCH"),
    ]
    good = [RecommendRequest(user=KNOWN), RecommendRequest(user=embedded)]
    requests = [good[0], *[request for request, _ in wrong], good[1]]
    entries = api.recommender.BatchRecommend(BatchRecommendRequest(requests=requests)).entries
    assert [entry.error.reason for entry in entries] == ["", *[reason for _, reason in wrong], ""]
    assert [entry.error.index for entry in entries[1:-1]] == [1, 2, 3, 4, 5]
    assert len(entries[0].response.results) == len(entries[-1].response.results) == 10


def test_a_stream_goes_on_after_an_error(api):
    requests = [
        StreamRecommendRequest(request_id=str(n), request=RecommendRequest(user=User(user_id="u001" if n % 2 else "?")))
        for n in range(20)
    ]
    responses = {r.request_id: r for r in api.recommender.StreamRecommend(iter(requests), timeout=20)}
    assert len(responses) == 20
    for number in range(20):
        response = responses[str(number)]
        assert response.WhichOneof("result") == ("response" if number % 2 else "error")
        assert response.error.reason == ("" if number % 2 else "USER_NOT_FOUND")


def test_the_errors_page_is_up_to_date():
    page = Path(__file__).resolve().parents[3] / "docs/errors.md"
    assert page.read_text() == documentation(), "run: python -m tools.docs.errors_page > docs/errors.md"


def test_quoted_input_is_short_and_printable():
    assert quoted("a\nb\x00") == '"a\ufffdb\ufffd"'
    assert len(quoted("x" * 1000)) == 66
