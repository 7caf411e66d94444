"""BatchRecommend and StreamRecommend on a real server give the results of single calls."""

from __future__ import annotations

import gc
import queue
import time

import grpc
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    ItemFilter,
    RecommendRequest,
    StreamRecommendRequest,
    User,
)
from cofactor_server.errors import UserNotFound
from tests.support.expected import ITEM_IDS, KNOWN, ids_of
from tests.support.waiting import until


def varied_requests(n):
    """Yield requests that differ in user, length, order, exclusions and path through the server."""
    for number in range(n):
        request = RecommendRequest(
            user=User(user_id=f"u{number % 40:03}"), page_size=1 + number % 13, include_rated=number % 3 == 0,
            popularity_penalty=0.25 * (number % 4), diversity=0.5 * (number % 7 == 0),
        )  # fmt: skip
        if number % 5 == 0:
            request.filter.excluded_item_ids.extend(ITEM_IDS[: number % 50])
        if number % 11 == 0:
            request.filter.any_genres.append("Drama")
        yield request


def comparable(response):
    return [(r.item_id, round(r.score, 4)) for r in response.results], bool(response.next_page_token)


def test_a_batch_gives_the_results_of_single_calls(api, name):
    requests = list(varied_requests(60))
    batch = api.recommender.BatchRecommend(BatchRecommendRequest(model=ModelRef(name=name), requests=requests))
    assert batch.model.name == name
    for entry, request in zip(batch.entries, requests, strict=True):
        request.model.name = name
        assert comparable(entry.response) == comparable(api.recommender.Recommend(request))
        assert not entry.response.HasField("model")


def test_the_page_token_of_a_batch_entry_is_valid_in_recommend(api):
    model = ModelRef(name="net")
    request = BatchRecommendRequest(model=model, requests=[RecommendRequest(user=KNOWN, page_size=4)])
    token = api.recommender.BatchRecommend(request).entries[0].response.next_page_token
    second = api.recommender.Recommend(RecommendRequest(model=model, user=KNOWN, page_size=4, page_token=token))
    whole = api.recommender.Recommend(RecommendRequest(model=model, user=KNOWN, page_size=8))
    assert ids_of(second) == ids_of(whole)[4:]


def test_failed_entries_leave_no_reference_cycles(api):
    def failures():
        return [known for known in gc.get_objects() if type(known) is UserNotFound]

    requests = [RecommendRequest(user=KNOWN), RecommendRequest(user=User(user_id="nobody"))]
    gc.collect()
    gc.disable()
    try:
        assert api.recommender.BatchRecommend(BatchRecommendRequest(requests=requests)).entries[1].HasField("error")
        stream = api.recommender.StreamRecommend(StreamRecommendRequest(request=request) for request in requests)
        assert [response.HasField("error") for response in stream] == [False, True]
        until(lambda: not failures())  # the server's threads drop the errors after the response is sent
    finally:
        gc.enable()


def test_a_stream_gives_the_results_of_single_calls(api, name):
    requests = list(varied_requests(150))
    for request in requests:
        request.model.name = name
    stream = (StreamRecommendRequest(request_id=f"r{n}", request=request) for n, request in enumerate(requests))
    responses = {entry.request_id: entry.response for entry in api.recommender.StreamRecommend(stream, timeout=60)}
    assert len(responses) == 150
    for number, request in enumerate(requests):
        assert comparable(responses[f"r{number}"]) == comparable(api.recommender.Recommend(request))


def test_a_single_request_on_a_stream_gets_its_response_at_once(api):
    waiting = queue.Queue()
    stream = api.recommender.StreamRecommend(iter(waiting.get, None), timeout=20)
    for number in range(5):
        waiting.put(StreamRecommendRequest(request_id=str(number), request=RecommendRequest(user=KNOWN)))
        assert next(stream).request_id == str(number)
    waiting.put(None)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_slow_reader_causes_backpressure_and_loses_nothing(api):
    sent = []
    # 40 kB per request and 8 kB per response: in all more than the buffers and HTTP/2 windows on the way can hold.
    ballast = ItemFilter(excluded_item_ids=["x" * 1000] * 40)

    def requests():
        for number in range(20_000):
            sent.append(number)
            request = RecommendRequest(
                user=KNOWN, page_size=1000, include_rated=True, return_items=True, filter=ballast
            )
            yield StreamRecommendRequest(request_id=str(number), request=request)

    stream = api.recommender.StreamRecommend(requests(), timeout=60)
    assert next(stream).request_id == "0"
    before = -1
    while before < len(sent) < 20_000:
        before = len(sent)
        time.sleep(1)
    assert len(sent) < 20_000  # the server stopped reading
    assert [next(stream).request_id for _ in range(1000)] == [str(number) for number in range(1, 1001)]
    stream.cancel()
    with pytest.raises(grpc.RpcError):
        list(stream)
    assert api.recommender.Recommend(RecommendRequest(user=KNOWN)).results  # the server goes on serving
