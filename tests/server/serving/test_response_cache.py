"""Test that cached responses equal new ones, stay within their limit and go with their version."""

from __future__ import annotations

import shutil
import sys
import threading
import tracemalloc

import grpc
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewUserRequest,
    ItemFilter,
    RecommendRequest,
    StreamRecommendRequest,
    User,
)
from cofactor_server.serving.response_cache import ENTRY_BYTES, ResponseCache

KNOWN = User(user_id="u003")
KNOWN_REQUESTS = [
    RecommendRequest(user=KNOWN),
    RecommendRequest(user=KNOWN, page_size=3, return_items=True),
    RecommendRequest(user=KNOWN, model=ModelRef(name="net"), diversity=0.5),
    RecommendRequest(user=KNOWN, filter=ItemFilter(candidate_item_ids=["i001", "i002", "none"])),
    RecommendRequest(user=User(user_id="u004"), include_rated=True),
]


def without_id(response):
    assert response.recommendation_id
    response.recommendation_id = ""
    return response


def hits_and_misses(api):
    counters = api.server.reporter.report().totals.counters.get("cofactor_cache_requests", {})
    return counters.get("hit", 0), counters.get("miss", 0)


def cache_of(api, name="dot"):
    return api.server.repository.versions[name][0].response_cache


def test_cached_responses_equal_those_of_a_server_without_a_cache(serve, served_models):
    cached = serve(served_models, model="dot")
    uncached = serve(served_models, model="dot", cache_mib=0)
    for request in KNOWN_REQUESTS:
        expected = without_id(uncached.recommender.Recommend(request))
        for _ in range(3):
            assert without_id(cached.recommender.Recommend(request)) == expected
    assert hits_and_misses(cached) == (2 * len(KNOWN_REQUESTS), len(KNOWN_REQUESTS))
    assert hits_and_misses(uncached) == (0, 0)
    assert len(cache_of(uncached)) == 0


def test_every_page_has_a_cache_entry_of_its_own(serve, served_models):
    api = serve(served_models, model="dot")
    first = RecommendRequest(user=KNOWN, page_size=4)
    walks = []
    for _ in range(2):
        pages, request = [], first
        while len(pages) < 3:
            response = api.recommender.Recommend(request)
            pages.append([result.item_id for result in response.results])
            request = RecommendRequest(user=KNOWN, page_size=4, page_token=response.next_page_token)
        walks.append(pages)
    assert walks[0] == walks[1]
    assert len({item for page in walks[0] for item in page}) == 12
    assert hits_and_misses(api) == (3, 3)


def test_batches_and_streams_share_the_cache(serve, served_models):
    api = serve(served_models, model="dot")
    request = RecommendRequest(user=KNOWN)
    alone = without_id(api.recommender.Recommend(request))
    for _ in range(2):
        entries = api.recommender.BatchRecommend(BatchRecommendRequest(requests=[request, request])).entries
        (streamed,) = api.recommender.StreamRecommend(iter([StreamRecommendRequest(request_id="a", request=request)]))
        assert streamed.request_id == "a"
        assert without_id(streamed.response) == alone
        for entry in entries:
            assert not entry.response.HasField("model")
            assert entry.response.results == alone.results
    assert hits_and_misses(api) == (6, 1)


def test_every_cached_response_gets_a_recommendation_id_of_its_own(serve, served_models):
    api = serve(served_models, model="dot")
    ids = {api.recommender.Recommend(RecommendRequest(user=KNOWN)).recommendation_id for _ in range(50)}
    assert len(ids) == 50
    assert hits_and_misses(api) == (49, 1)


def test_a_version_changed_in_place_does_not_serve_responses_of_its_predecessor(
    serve, dot_version, net_version, versions, tmp_path
):
    versions.copy(dot_version, tmp_path, "dot", "1")
    api = serve(tmp_path, poll_interval_s=0)
    request = RecommendRequest(user=KNOWN)
    before = [without_id(api.recommender.Recommend(request)) for _ in range(2)][1]
    shutil.rmtree(tmp_path / "dot" / "1")
    versions.copy(net_version, tmp_path, "dot", "1")
    api.server._live.watcher.poll()
    assert len(cache_of(api)) == 0
    changed = without_id(api.recommender.Recommend(request))
    assert changed.model.version == before.model.version
    assert changed != before
    assert without_id(api.recommender.Recommend(request)) == changed


def test_a_new_version_serves_at_once(serve, dot_version, versions, tmp_path):
    versions.copy(dot_version, tmp_path, "dot", "1")
    api = serve(tmp_path, poll_interval_s=0)
    request = RecommendRequest(user=KNOWN)
    assert [api.recommender.Recommend(request).model.version for _ in range(2)] == ["1", "1"]
    versions.copy(dot_version, tmp_path, "dot", "2")
    api.server._live.watcher.poll()
    assert [api.recommender.Recommend(request).model.version for _ in range(2)] == ["2", "2"]


def test_only_responses_for_known_users_are_cached(serve, served_models):
    api = serve(served_models, model="dot")
    embedding = api.recommender.EmbedNewUser(EmbedNewUserRequest()).embedding
    popular = RecommendRequest.UNKNOWN_USER_POLICY_POPULAR
    for _ in range(2):
        api.recommender.Recommend(RecommendRequest(user=User(embedding=embedding)))
        api.recommender.Recommend(RecommendRequest(user=User(user_id="nobody"), unknown_user_policy=popular))
        with pytest.raises(grpc.RpcError, match="nobody"):
            api.recommender.Recommend(RecommendRequest(user=User(user_id="nobody")))
        with pytest.raises(grpc.RpcError, match="page_size"):
            api.recommender.Recommend(RecommendRequest(user=KNOWN, page_size=-1))
    assert len(cache_of(api)) == 0
    assert hits_and_misses(api) == (0, 0)


def test_the_cache_takes_no_more_memory_than_its_limit():
    cache = ResponseCache(200_000)
    tracemalloc.start()
    for number in range(5_000):
        cache.put((b"request %d" % number, 0), b"x" * (number % 700))
    allocated = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 190_000 < cache.n_bytes <= 200_000
    assert allocated <= 1.1 * 200_000
    assert cache.get((b"request 4999", 0)) == b"x" * (4999 % 700)
    assert cache.get((b"request 0", 0)) is None
    cache.put((b"huge", 0), b"x" * 200_000)
    assert cache.get((b"huge", 0)) is None
    assert cache.get((b"request 4999", 0)) is not None


def test_the_least_recently_used_response_is_evicted_first():
    cache = ResponseCache(3 * 500)
    for name in (b"a", b"b", b"c"):
        cache.put((name, 0), b"x" * 100)
    assert cache.get((b"a", 0))
    cache.put((b"d", 0), b"x" * 100)
    assert [name for name in (b"a", b"b", b"c", b"d") if cache.get((name, 0))] == [b"a", b"c", b"d"]


def test_threads_get_their_own_responses_and_the_size_stays_right():
    cache = ResponseCache(50 * 400)
    wrong = []

    def work():
        for number in range(2_000):
            key = (b"%d" % (number % 97), 0)
            response = cache.get(key)
            if response not in (None, key[0]):
                wrong.append(response)
            cache.put(key, key[0])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert cache.n_bytes <= 50 * 400
    keys = [b"%d" % number for number in range(97)]
    sizes = [2 * len(key) + ENTRY_BYTES for key in keys if cache.get((key, 0)) == key]
    assert sum(sizes) == cache.n_bytes
