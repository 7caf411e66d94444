"""Test that the encoder writes the same messages as protobuf."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.model_pb2 import Item, ServedModel
from cofactor.v1.recommender_pb2 import BatchRecommendResponse, EntryError, RecommendResponse, StreamRecommendResponse
from cofactor_server.ranking.catalogue import ItemRecord
from cofactor_server.ranking.ranker import EMPTY_RANKING, Ranking
from cofactor_server.serving import response_encoder as encoding
from cofactor_server.serving.response_encoder import ResponseEncoder, batch_response, stream_response, varint

SERVED = ServedModel(name="dot", version="1", execution_provider="CPUExecutionProvider")
IDS = ["a", "é" * 200, "x" * 127, "y" * 128, "z" * 20_000]


class Records:
    def record(self, row):
        return ItemRecord("Título " * row, ("Drama", "Comedy")[:row], 1990 + row, 10**row, -0.5 * row)


def ranking(rows):
    numbers = np.array(rows, dtype=np.float32)
    return Ranking(np.array(rows), numbers - 1, numbers / 7, has_more=True)


def encoder(*, with_ratings=True):
    return ResponseEncoder(IDS, Records(), SERVED, with_ratings=with_ratings)


def message(rows, *, with_ratings, with_items, **fields):
    """Build the same response with protobuf."""
    response = RecommendResponse(model=SERVED, **fields)
    for row in rows:
        result = response.results.add(item_id=IDS[row], score=float(np.float32(row) - 1))
        if with_ratings:
            result.predicted_rating = float(np.float32(row) / np.float32(7))
        if with_items:
            record = Records().record(row)
            result.item.CopyFrom(
                Item(
                    item_id=IDS[row], title=record.title, genres=record.genres, release_year=record.release_year,
                    rating_count=record.rating_count, bias=record.bias,
                )
            )  # fmt: skip
    return response


@pytest.mark.parametrize("with_ratings", [True, False])
@pytest.mark.parametrize("with_items", [True, False])
@pytest.mark.parametrize("rows", [[3], [4, 0, 2, 1, 3], list(range(5)) * 300, []])
def test_an_encoded_response_parses_to_the_message(rows, with_items, with_ratings):
    fields = {
        "next_page_token": "t" * 40,
        "missing_item_ids": ["", "ö"],
        "is_fallback": True,
    }
    response_encoder = encoder(with_ratings=with_ratings)
    for _ in range(2):  # the second time, the items are cached
        results = response_encoder.results([ranking(rows)], [with_items])[0]
        response = response_encoder.complete(response_encoder.response(results, **fields), "id-1")
        expected = message(rows, with_ratings=with_ratings, with_items=with_items, recommendation_id="id-1", **fields)
        assert RecommendResponse.FromString(response) == expected


def test_rankings_encoded_together_equal_rankings_encoded_alone():
    rankings = [ranking([3, 1]), EMPTY_RANKING, ranking([0, 1, 2, 4])]
    with_items = [False, True, True]
    alone = [encoder().results([r], [items])[0] for r, items in zip(rankings, with_items, strict=True)]
    assert encoder().results(rankings, with_items) == alone
    assert alone[1] == b""


def test_an_empty_response_contains_only_its_id_and_the_model():
    encoded = encoder().complete(encoder().response(b""), "x")
    assert RecommendResponse.FromString(encoded) == RecommendResponse(recommendation_id="x", model=SERVED)
    encoded = encoder().complete(encoder().response(b""), "x", with_model=False)
    assert RecommendResponse.FromString(encoded) == RecommendResponse(recommendation_id="x")


def test_batches_and_streams_contain_the_responses():
    encoded = encoder().complete(encoder().response(encoder().results([ranking([1, 2])], [False])[0]), "x")
    response = RecommendResponse.FromString(encoded)
    failed = BatchRecommendResponse.Entry(error=EntryError(index=1, reason="R"))
    batch = BatchRecommendResponse.FromString(batch_response([encoded, failed, encoded], SERVED))
    entry = BatchRecommendResponse.Entry(response=response)
    assert batch == BatchRecommendResponse(entries=[entry, failed, entry], model=SERVED)
    stream = StreamRecommendResponse.FromString(stream_response("ä" * 100, encoded))
    assert stream == StreamRecommendResponse(request_id="ä" * 100, response=response)


def test_the_cache_of_items_is_bounded(monkeypatch):
    monkeypatch.setattr(encoding, "MAX_CACHED_ITEMS", 3)
    response_encoder = encoder()
    for rows in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        encoded = response_encoder.results([ranking(rows)], [False])[0]
        assert [r.item_id for r in RecommendResponse.FromString(encoded).results] == [IDS[row] for row in rows]
        assert len(response_encoder._heads) <= 3


def test_varint_encodes_like_protobuf():
    for number in (0, 1, 127, 128, 300, 16_383, 16_384, 2**31 - 1):
        encoded = b"\x08" + varint(number)  # EntryError.index
        assert EntryError.FromString(encoded).index == number
