"""Page tokens decode to what was encoded, and damaged tokens are refused."""

from __future__ import annotations

import grpc
import pytest

from cofactor.v1 import catalog_pb2, model_pb2, recommender_pb2
from cofactor_server.errors import InvalidPageToken
from cofactor_server.services.pagination import PageToken, decode_token, encode_token, request_fingerprint


def parts(token: PageToken) -> tuple[int, int, str]:
    return token.offset, token.fingerprint, token.version_key


@pytest.mark.parametrize("offset", [0, 10, 2**32 - 1])
def test_a_token_decodes_to_what_was_encoded(offset) -> None:
    fingerprint = request_fingerprint(b"a request")
    token = encode_token(offset, fingerprint, "films/für-1")
    assert parts(decode_token(token)) == (offset, fingerprint, "films/für-1")


def test_tokens_of_different_requests_differ() -> None:
    assert len({encode_token(10, request_fingerprint(b"%d" % number), "films/1") for number in range(1000)}) == 1000


def test_a_token_with_one_character_changed_missing_or_added_is_refused() -> None:
    token = encode_token(10, request_fingerprint(b"a request"), "films/1")
    for place, character in enumerate(token):
        for other in "0123456789abcdef-é ":
            if other != character:
                with pytest.raises(InvalidPageToken):
                    decode_token(token[:place] + other + token[place + 1 :])
        with pytest.raises(InvalidPageToken):
            decode_token(token[:place] + token[place + 1 :])
        with pytest.raises(InvalidPageToken):
            decode_token(token[:place] + "0" + token[place:])


def forged_for(request, version_key: str) -> str:
    """Make a token as anyone can who knows the layout: it fits the request and names any version."""
    key = type(request).__name__.encode() + request.SerializeToString(deterministic=True)
    return encode_token(0, request_fingerprint(key), version_key)


@pytest.mark.parametrize(("ref", "other"), [({}, "hybrid"), ({"name": "dot"}, "net"), ({"name": "net"}, "dot")])
def test_a_page_token_does_not_choose_another_model_than_the_request(api, ref, other) -> None:
    model = model_pb2.ModelRef(**ref)
    calls = {
        api.recommender.Recommend: recommender_pb2.RecommendRequest(
            user=recommender_pb2.User(user_id="u003"), model=model
        ),
        api.recommender.SimilarItems: recommender_pb2.SimilarItemsRequest(item_ids=["i001"], model=model),
        api.catalog.ListTopItems: catalog_pb2.ListTopItemsRequest(model=model),
        api.catalog.SearchItems: catalog_pb2.SearchItemsRequest(query="item", model=model),
    }
    own = api.catalog.GetModel(catalog_pb2.GetModelRequest(model=model), timeout=10).model
    for call, request in calls.items():
        request.page_token = forged_for(request, f"{other}/1")
        with pytest.raises(grpc.RpcError, match="belongs to a list of another model") as refused:
            call(request, timeout=10)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        request.page_token = ""
        request.page_token = forged_for(request, f"{own.name}/{own.version}")
        assert call(request, timeout=10).model.name == own.name
