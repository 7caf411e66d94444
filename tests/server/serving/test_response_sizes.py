"""A response that its caller could not receive is refused before any work, and the bound is never below the truth."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetItemMapRequest, GetModelRequest, ListTopItemsRequest, SearchItemsRequest
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    RecommendRequest,
    SimilarItemsRequest,
    StreamRecommendRequest,
)
from cofactor_server.repository.string_table import StringTable
from cofactor_server.serving.response_sizes import RESPONSE_OVERHEAD, ResponseSizes
from tests.support.expected import KNOWN, N_ITEMS

MIB = 2**20


@pytest.fixture
def version(api):
    return api.server.repository.resolve_default()


def sizes_with_limit(version, limit, max_page_size=1000):
    texts = [item_id.encode() for item_id in version.item_ids.ids]
    offsets = np.cumsum([0, *map(len, texts)])
    item_ids = StringTable(np.frombuffer(b"".join(texts), dtype=np.uint8), offsets)
    return ResponseSizes(item_ids, version.catalogue, max_page_size, limit)


@pytest.mark.parametrize("with_items", [False, True])
@pytest.mark.parametrize("page_size", [1, 10, N_ITEMS])
def test_the_bound_is_a_little_above_the_real_size(api, version, with_items, page_size):
    request = RecommendRequest(user=KNOWN, page_size=page_size, return_items=with_items, include_rated=True)
    response = api.recommender.Recommend(request)
    assert len(response.results) == page_size
    bound = version.response_sizes.bound(page_size, with_items=with_items)
    assert response.ByteSize() <= bound <= 1.3 * response.ByteSize() + RESPONSE_OVERHEAD


def test_the_bound_counts_the_largest_items(version):
    item = version.response_encoder.item
    largest = sorted((item(row).ByteSize() for row in range(N_ITEMS)), reverse=True)
    sizes = sizes_with_limit(version, MIB, max_page_size=20)
    bounds = [sizes.bound(size, with_items=True) for size in range(21)]
    assert np.all(np.diff(bounds) >= largest[:20])
    assert sizes.bound(21, with_items=True) == bounds[20], "no page is larger than the largest"


def test_a_page_is_refused_where_its_bound_passes_the_limit(version):
    limit = version.response_sizes.bound(30, with_items=True)
    sizes = sizes_with_limit(version, limit)
    assert sizes.safe_page_size == 30
    sizes.check(30, with_items=True)
    sizes.check(31, with_items=False)
    with pytest.raises(Exception, match=r"page_size: asks for a response of up to .* MiB.*ask for fewer results"):
        sizes.check(31, with_items=True)


@pytest.fixture(scope="module")
def long_titles(dot_version, versions, tmp_path_factory, connect_to):
    """Return the stubs of a server of 120 items with titles of 20,000 characters: a page of all is 2.3 MiB."""
    version = versions.copy(dot_version, tmp_path_factory.mktemp("long"))
    versions.lengthen_titles(version, 20_000)
    with connect_to(version.parents[1], max_response_mib=1) as api:
        yield api


@pytest.mark.parametrize(
    "call",
    [
        lambda api, size: api.recommender.Recommend(RecommendRequest(user=KNOWN, page_size=size, return_items=True)),
        lambda api, size: api.recommender.SimilarItems(
            SimilarItemsRequest(item_ids=["i001"], page_size=size, return_items=True)
        ),
        lambda api, size: api.catalog.SearchItems(SearchItemsRequest(query="film", page_size=size)),
        lambda api, size: api.catalog.ListTopItems(ListTopItemsRequest(page_size=size)),
        lambda api, size: api.catalog.GetItemMap(GetItemMapRequest(max_items=size)),
        lambda api, size: api.recommender.BatchRecommend(
            BatchRecommendRequest(requests=[RecommendRequest(user=KNOWN, page_size=1, return_items=True)] * size)
        ),
    ],
    ids=["Recommend", "SimilarItems", "SearchItems", "ListTopItems", "GetItemMap", "BatchRecommend"],
)
def test_every_rpc_refuses_a_response_above_the_limit(long_titles, call):
    assert MIB / 2 < call(long_titles, 50).ByteSize() < MIB
    with pytest.raises(grpc.RpcError) as refused:
        call(long_titles, 100)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "this server answers at most 1;" in refused.value.details()


def test_an_entry_of_a_stream_is_refused_and_the_stream_goes_on(long_titles):
    pages = [RecommendRequest(user=KNOWN, page_size=size, return_items=True) for size in (100, 1)]
    requests = [StreamRecommendRequest(request_id=str(number), request=page) for number, page in enumerate(pages)]
    refused, answered = long_titles.recommender.StreamRecommend(iter(requests))
    assert refused.error.reason == "INVALID_FIELD"
    assert len(answered.response.results) == 1


def test_without_items_the_same_page_is_answered(long_titles):
    assert len(long_titles.recommender.Recommend(RecommendRequest(user=KNOWN, page_size=100)).results) == 100


def test_get_model_tells_the_limits(long_titles):
    limits = long_titles.catalog.GetModel(GetModelRequest()).limits
    assert (limits.max_response_bytes, limits.max_request_bytes) == (MIB, 4 * MIB)
