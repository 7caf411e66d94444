"""Test reflection as grpcurl, ghz and evans use it, in both versions of the service."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

VERSIONS = ("v1", "v1alpha")
OIP = "inference.GRPCInferenceService"


@pytest.fixture(params=VERSIONS)
def reflect(request, serve, served_models):
    """Return a function that asks a server with every service; it takes the fields of one request."""
    api = serve(served_models, model="dot", oip=True)
    method = f"/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo"
    # The messages of both versions are the same.
    ask = api.channel.stream_stream(
        method, ServerReflectionRequest.SerializeToString, ServerReflectionResponse.FromString
    )
    return lambda **fields: next(ask(iter([ServerReflectionRequest(**fields)]), timeout=60))


def files_of(response):
    files = response.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(content) for content in files]


def services(reflect):
    return [service.name for service in reflect(list_services="").list_services_response.service]


def test_every_service_is_listed(reflect) -> None:
    assert services(reflect) == [
        "cofactor.v1.CatalogService",
        "cofactor.v1.FeedbackService",
        "cofactor.v1.RecommenderService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        OIP,
    ]


def test_every_service_with_all_its_methods_and_messages_can_be_described(reflect) -> None:
    for service in services(reflect):
        found = files_of(reflect(file_containing_symbol=service))
        pool = descriptor_pool.DescriptorPool()
        by_name = {file.name: file for file in found}
        for file in found:
            _add_with_dependencies(pool, by_name, file.name)
        described = pool.FindServiceByName(service)
        assert described.methods
        for method in described.methods:
            for symbol in (method.full_name, method.input_type.full_name, method.output_type.full_name):
                response = reflect(file_containing_symbol=symbol)
                assert response.HasField("file_descriptor_response"), symbol


def _add_with_dependencies(pool, by_name, name) -> None:
    try:
        pool.FindFileByName(name)
    except KeyError:
        for dependency in by_name[name].dependency:
            _add_with_dependencies(pool, by_name, dependency)
        pool.Add(by_name[name])


def test_files_and_fields_are_found_and_other_names_are_not(reflect) -> None:
    (file,) = [f for f in files_of(reflect(file_containing_symbol=OIP)) if f.package == "inference"]
    assert [f.name for f in files_of(reflect(file_by_filename=file.name))] == [file.name]
    assert files_of(reflect(file_containing_symbol="cofactor.v1.RecommendRequest.page_size"))
    for symbol in ("cofactor.v1.RecommenderService.NoSuchMethod", "cofactor.v1.NoSuchService", "NoSuchName", ""):
        error = reflect(file_containing_symbol=symbol).error_response
        assert error.error_code == grpc.StatusCode.NOT_FOUND.value[0], symbol


def test_a_service_that_is_off_is_not_listed(api) -> None:
    method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    ask = api.channel.stream_stream(
        method, ServerReflectionRequest.SerializeToString, ServerReflectionResponse.FromString
    )
    listed = next(ask(iter([ServerReflectionRequest(list_services="")]), timeout=60)).list_services_response.service
    assert OIP not in [service.name for service in listed]
