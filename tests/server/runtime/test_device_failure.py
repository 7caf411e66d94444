"""Test that a server whose device fails tells callers to go elsewhere, and ends."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError, DeviceFailed
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.device.placement import PlacedSession, Trial, decide
from cofactor_server.runtime.launcher import DEVICE_FAILED
from cofactor_server.serving import registry
from tests.support import failing_device
from tests.support.server_process import ServerProcess

REQUEST = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="u003"))


def test_a_server_whose_device_fails_answers_unavailable_and_ends(dot_version, tmp_path, versions) -> None:
    versions.copy(dot_version, tmp_path / "models")
    broken = tmp_path / "broken"
    program = (Path(failing_device.__file__), broken)
    flags = ("--cache-mib", "0", "--drain-delay-s", "0")
    with ServerProcess(tmp_path / "models", tmp_path / "log", *flags, program=program) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            assert stub.Recommend(REQUEST, timeout=60).results
            broken.touch()
            with pytest.raises(grpc.RpcError) as raised:
                stub.Recommend(REQUEST, timeout=60)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "device has failed; retry on another replica" in raised.value.details()
        metadata = dict(raised.value.trailing_metadata())
        assert b"DEVICE_FAILED" in metadata["grpc-status-details-bin"]
        assert server.process.wait(60) == DEVICE_FAILED
        log = server.text()
    assert "the device has failed, and the server stops: cuda_call.cc:129 CUDA failure 719" in log
    assert "/src/" not in log
    assert "Traceback" not in log


def test_a_failure_is_reported_once_and_to_those_who_come_later() -> None:
    failure, calls = DeviceFailure(), []
    failure.then(lambda: calls.append("first"))
    assert not failure.has_happened
    failure.report("lost")
    failure.report("lost again")
    failure.then(lambda: calls.append("late"))
    assert failure.has_happened
    assert calls == ["first", "late"]


def test_a_failure_on_the_cpu_is_not_one_of_the_device() -> None:
    def fails(*_):
        raise RuntimeError("bad shape")

    failure = DeviceFailure()
    placement = decide("recommend", [Trial(1, 1.0, 2.0), Trial(8, 2.0, 1.0)])
    placed = PlacedSession(fails, fails, placement, lambda inputs: len(inputs["x"]), lambda _: True, failure)
    with pytest.raises(RuntimeError, match="bad shape"):
        placed.run(["y"], {"x": [0]})
    assert not failure.has_happened
    with pytest.raises(DeviceFailed):
        placed.run(["y"], {"x": [0] * 8})
    assert failure.has_happened


def test_workers_cannot_share_a_device() -> None:
    with pytest.raises(ConfigurationError, match="workers must be 1 with provider cuda, not 2"):
        ServerConfig(models="m", provider="cuda", workers=2)


def test_workers_without_a_provider_run_on_the_cpu(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(registry, "requested_providers", lambda provider, _: asked.append(provider))
    for workers in (1, 2):
        registry._loader(ServerConfig(models="m", provider="auto", workers=workers), None, None)
    assert asked == ["auto", "cpu"]
