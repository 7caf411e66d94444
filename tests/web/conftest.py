"""A real server of synthetic models, and a gateway to it."""

from __future__ import annotations

import shutil

import pytest

from cofactor.v1 import catalog_pb2_grpc, feedback_pb2_grpc, recommender_pb2_grpc
from tests.support.web import run_gateway


@pytest.fixture(scope="session")
def served_to_gateways(tmp_path_factory, dot_version, profile_version):
    """A running server with the models dot (the default) and profile, for all tests."""
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    models = tmp_path_factory.mktemp("served-to-gateways")
    for version in (dot_version, profile_version):
        shutil.copytree(version, models / version.parent.name / version.name)
    log = str(tmp_path_factory.mktemp("feedback") / "log.sqlite")
    config = ServerConfig(models=models, model="dot", port=0, provider="cpu", threads=4, feedback_log=log)
    with create_server(config) as server:
        yield server


@pytest.fixture(scope="session")
def server_address(served_to_gateways):
    return f"127.0.0.1:{served_to_gateways.port}"


@pytest.fixture(scope="session")
def gateway(server_address):
    """A gateway without routes for operators."""
    with run_gateway(server_address) as running:
        yield running


@pytest.fixture(scope="session")
def stubs(server_address):
    """The stubs by name of the service, for calls past the gateway."""
    import grpc

    with grpc.insecure_channel(server_address) as channel:
        yield {
            "RecommenderService": recommender_pb2_grpc.RecommenderServiceStub(channel),
            "CatalogService": catalog_pb2_grpc.CatalogServiceStub(channel),
            "FeedbackService": feedback_pb2_grpc.FeedbackServiceStub(channel),
        }
