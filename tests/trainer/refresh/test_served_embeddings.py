"""A server accepts embeddings of the version before, if the embedding space was kept, and refuses them otherwise."""

import json
import shutil

import grpc
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import EmbedNewUserRequest, PredictRequest, Rating, User
from cofactor.v1.recommender_pb2_grpc import RecommenderServiceStub
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server


@pytest.fixture(scope="module")
def stub(refreshed, first_version, tmp_path_factory):
    """Stub of a server with version 1 and the versions keep and renew that began with it."""
    models = tmp_path_factory.mktemp("models")
    for path in (first_version, *(version.path for version in refreshed.values())):
        shutil.copytree(path, models / "films" / path.name)
    policy = {"labels": {"stable": "1"}, "pinned": ["keep", "renew"]}
    (models / "films" / "serving.json").write_text(json.dumps(policy), encoding="utf-8")
    config = ServerConfig(models=models, model="films", port=0, drain_delay_s=0)
    with create_server(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield RecommenderServiceStub(channel)


@pytest.fixture(scope="module")
def embedding(stub):
    ratings = [Rating(item_id="i000", rating=5), Rating(item_id="i005", rating=1), Rating(item_id="i009", rating=3.5)]
    return stub.EmbedNewUser(EmbedNewUserRequest(ratings=ratings)).embedding


def predict(stub, embedding, version, item_ids):
    request = PredictRequest(model=ModelRef(version=version), user=User(embedding=embedding), item_ids=item_ids)
    return list(stub.Predict(request).ratings)


def test_a_kept_space_gives_the_same_ratings_of_all_items_that_both_versions_have(
    stub, embedding, refreshed, first_version
):
    known = [item_id for item_id in refreshed["keep"].strings("item_ids") if item_id != "an"]
    before = predict(stub, embedding, "1", known)
    assert predict(stub, embedding, "keep", known) == before
    assert len(set(before)) > 50


def test_a_renewed_space_refuses_the_embedding(stub, embedding):
    with pytest.raises(grpc.RpcError) as error:
        predict(stub, embedding, "renew", ["i000"])
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
