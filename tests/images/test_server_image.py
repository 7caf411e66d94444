"""The image of the server, run with a read-only root."""

from __future__ import annotations

import signal

import grpc
import pytest

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from tests.support.images import buildah, running_server

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]


def test_the_server_answers_and_stops_when_asked(read_only, models, tmp_path) -> None:
    image = read_only("server")
    with running_server(image, models, tmp_path / "log") as (process, port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            user = recommender_pb2.User(history=recommender_pb2.RatingHistory())
            assert stub.Recommend(recommender_pb2.RecommendRequest(user=user), timeout=20).results
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "log").read_text(encoding="utf-8")


def test_the_health_command_tells_a_server_that_serves_from_none(read_only, models, tmp_path) -> None:
    image = read_only("server")
    log = tmp_path / "health"
    assert image.health_command == ["cofactor", "health", "--timeout", "3"]
    with running_server(image, models, tmp_path / "log") as (_, port):
        address = f"127.0.0.1:{port}"
        assert image.run(*image.health_command, log=log, COFACTOR_ADDRESS=address) == (0, f"{address} is serving\n")
    status, printed = image.run(*image.health_command, log=log, COFACTOR_ADDRESS=address)
    assert status == 1, printed


def test_the_root_is_read_only_in_these_tests(read_only, tmp_path) -> None:
    status, printed = read_only("server").run("sh", "-c", "touch /tmp/x && touch /models/x", log=tmp_path / "log")
    assert status != 0
    assert "Read-only file system" in printed
    assert "/tmp/x" not in printed


def test_the_server_has_what_the_docs_offer(container) -> None:
    imports(container("server"), "jwt", "s3fs", "model_signing", "opentelemetry.sdk")


def test_the_server_can_have_the_approximate_index(container) -> None:
    imports(container("server-approximate"), "faiss", "cofactor_server")


def imports(container: str, *modules: str) -> None:
    buildah("run", container, "--", "python3", "-c", f"import {', '.join(modules)}")
