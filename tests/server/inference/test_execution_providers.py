"""Test that CUDA is used only where it works, and that --provider cuda fails where it does not."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor_server.errors import ProviderUnavailable
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU, CUDA, n_cuda_devices, requested_providers
from cofactor_server.inference.memory_budget import RUN_BYTES, floats_per_user, users_per_run
from cofactor_server.repository.version_directory import open_version_directory

without_gpu = pytest.mark.skipif(n_cuda_devices() > 0, reason="this machine has a CUDA device")
with_gpu = pytest.mark.skipif(n_cuda_devices() == 0, reason="this machine has no CUDA device")


@without_gpu
def test_provider_cuda_is_refused_without_a_device(dot_version):
    command = [sys.executable, "-m", "cofactor_server", "--models", str(dot_version.parents[1]), "--model", "dot"]
    result = subprocess.run([*command, "--port", "0", "--provider", "cuda"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --provider cuda: ")
    assert "--provider cpu" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@without_gpu
def test_provider_auto_takes_the_cpu_without_a_device_and_reports_it(dot_version, tmp_path, versions, serve):
    versions.copy(dot_version, tmp_path)
    api = serve(tmp_path, provider="auto")
    model = api.catalog.GetModel(GetModelRequest()).model
    assert list(model.execution_providers) == [CPU]
    assert requested_providers("auto", 0) == [CPU]


@without_gpu
def test_a_session_that_onnx_runtime_moved_to_the_cpu_is_noticed(dot_version, caplog):
    directory = open_version_directory(dot_version)
    with pytest.raises(ProviderUnavailable, match="cannot use CUDA here"):
        Engine(directory, [(CUDA, {}), CPU], must_use_first=True)
    engine = Engine(directory, [(CUDA, {}), CPU], must_use_first=False)
    assert engine.providers == [CPU]
    assert "CUDA does not run graph predict" in caplog.text


@with_gpu
def test_provider_cuda_runs_on_a_device_and_is_reported(dot_version, tmp_path, versions, serve):
    versions.copy(dot_version, tmp_path)
    api = serve(tmp_path, provider="cuda")  # runs the golden tests on it
    assert api.catalog.GetModel(GetModelRequest()).model.execution_providers[0] == CUDA


def test_provider_cpu_works_anywhere():
    assert requested_providers("cpu", 0) == [CPU]


@pytest.mark.parametrize("floats", [1682, 1_000_000, 9066 * 100, 10_000_000 * 100])
def test_a_run_stays_within_its_memory_unless_a_single_user_exceeds_it(floats):
    users = users_per_run(floats)
    assert users >= 1
    assert users == 1 or users * 2 * 4 * floats <= RUN_BYTES


def test_floats_per_user_counts_scores_or_a_hidden_layer_or_maxima_of_blocks():
    def floats(**shapes):
        tables = {name: np.empty(shape, dtype=np.float32) for name, shape in shapes.items()}
        return floats_per_user(SimpleNamespace(manifest=SimpleNamespace(item_count=1000), tables=tables))

    assert floats(item_factors=(1001, 8)) == 1000
    assert floats(item_factors=(1001, 8), item_hidden=(1001, 100)) == 100_000
    assert floats(item_factors=(1001, 8), item_columns=(11, 1024)) == 250
