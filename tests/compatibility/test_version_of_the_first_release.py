"""A version that release 0.1 exported is served by the present server, with the answers that it had then."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server

FOLDER = Path(__file__).parent / "first_release"
ANSWERS = json.loads((FOLDER / "answers.json").read_text("utf-8"))
HISTORIES = {"new": [("i3", 5.0), ("i7", 1.0)], "empty": []}


@pytest.fixture(scope="module")
def stub():
    config = ServerConfig(models=FOLDER / "models", port=0, provider="cpu", drain_delay_s=0)
    with create_server(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield recommender_pb2_grpc.RecommenderServiceStub(channel)


def user_of(name: str) -> recommender_pb2.User:
    if name not in HISTORIES:
        return recommender_pb2.User(user_id=name)
    ratings = [recommender_pb2.Rating(item_id=item, rating=rating) for item, rating in HISTORIES[name]]
    return recommender_pb2.User(history=recommender_pb2.RatingHistory(ratings=ratings))


@pytest.mark.parametrize("name", [name for name in ANSWERS if not name.startswith("similar")])
def test_recommend_answers_as_the_first_release_did(stub, name) -> None:
    request = recommender_pb2.RecommendRequest(user=user_of(name), page_size=10)
    results = stub.Recommend(request, timeout=20).results
    assert [result.item_id for result in results] == [item for item, _, _ in ANSWERS[name]]
    assert [[result.score, result.predicted_rating] for result in results] == [
        pytest.approx(numbers, abs=1e-5) for _, *numbers in ANSWERS[name]
    ]


def test_similar_items_answers_as_the_first_release_did(stub) -> None:
    request = recommender_pb2.SimilarItemsRequest(item_ids=["i1"], page_size=10)
    results = stub.SimilarItems(request, timeout=20).results
    assert [result.item_id for result in results] == [item for item, _ in ANSWERS["similar to i1"]]
    assert [result.score for result in results] == pytest.approx([s for _, s in ANSWERS["similar to i1"]], abs=1e-5)
