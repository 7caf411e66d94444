"""Clients of the first release, built from its descriptor set, still work with the current server."""

from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cofactor.v1 import model_pb2
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server

RELEASE = Path(__file__).resolve().parents[2] / "proto" / "releases" / "0.1.0.binpb"
USER = {"user_id": "{user}"}
REQUESTS = {
    "RecommenderService.Predict": {"user": USER, "item_ids": ["{item}"]},
    "RecommenderService.Recommend": {"user": USER, "page_size": 3, "return_items": True},
    "RecommenderService.SimilarItems": {"item_ids": ["{item}"], "page_size": 3},
    "RecommenderService.EmbedNewUser": {"ratings": [{"item_id": "{item}", "rating": 4.0}]},
    "RecommenderService.BatchRecommend": {"requests": [{"user": USER}]},
    "RecommenderService.StreamRecommend": {"request_id": "one", "request": {"user": USER}},
    "RecommenderService.Explain": {"user": USER, "item_id": "{item}"},
    "CatalogService.GetModel": {},
    "CatalogService.ListModels": {},
    "CatalogService.SearchItems": {"query": "i"},
    "CatalogService.ListTopItems": {"page_size": 3},
}


@pytest.fixture(scope="module")
def release():
    """The messages and methods of the first release, in a pool separate from the current generated code."""
    files = descriptor_pb2.FileDescriptorSet.FromString(RELEASE.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


@pytest.fixture(scope="module")
def server(dot_version):
    with create_server(ServerConfig(models=dot_version.parents[1], model="dot", port=0, drain_delay_s=0)) as running:
        yield running


def fill_in(value, user, item):
    """Replace {user} and {item} in a request by the ids of a user and an item."""
    if isinstance(value, str):
        return value.format(user=user, item=item)
    if isinstance(value, list):
        return [fill_in(entry, user, item) for entry in value]
    return {key: fill_in(entry, user, item) for key, entry in value.items()} if isinstance(value, dict) else value


def test_every_method_of_the_first_release_is_tested(release):
    services = [release.FindServiceByName(f"cofactor.v1.{name}") for name in ("RecommenderService", "CatalogService")]
    assert {f"{service.name}.{method.name}" for service in services for method in service.methods} == set(REQUESTS)


@pytest.mark.parametrize("method", REQUESTS)
def test_a_method_of_the_first_release_still_works(release, server, method):
    version = server.repository.resolve(model_pb2.ModelRef())
    user, item = version.user_ids.ids[0], version.item_ids.ids[0]
    descriptor = release.FindMethodByName(f"cofactor.v1.{method}")
    request_class = message_factory.GetMessageClass(descriptor.input_type)
    response_class = message_factory.GetMessageClass(descriptor.output_type)
    request = request_class(**fill_in(REQUESTS[method], user, item))
    service, _, name = method.partition(".")
    path, codec = f"/cofactor.v1.{service}/{name}", (request_class.SerializeToString, response_class.FromString)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        if descriptor.client_streaming:
            (response,) = channel.stream_stream(path, *codec)(iter([request]), timeout=20)
        else:
            response = channel.unary_unary(path, *codec)(request, timeout=20)
    assert response.ByteSize() > 0
