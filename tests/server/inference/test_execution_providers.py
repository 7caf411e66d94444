"""CUDA is used where it really works, refused where it was demanded and does not, and never claimed."""

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
def test_demanded_cuda_is_refused_without_a_device(dot_version):
    command = [sys.executable, "-m", "cofactor_server", "--models", str(dot_version.parents[1]), "--model", "dot"]
    result = subprocess.run([*command, "--port", "0", "--provider", "cuda"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --provider cuda: ")
    assert "--provider cpu" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@without_gpu
def test_auto_takes_the_cpu_without_a_device_and_says_so(dot_version, tmp_path, versions, serve):
    versions.copy(dot_version, tmp_path)
    api = serve(tmp_path, provider="auto")
    model = api.catalog.GetModel(GetModelRequest()).model
    assert list(model.execution_providers) == [CPU]
    assert requested_providers("auto", 0) == [CPU]


@without_gpu
def test_a_session_that_onnx_runtime_silently_moved_to_the_cpu_is_noticed(dot_version, caplog):
    """ONNX Runtime names CUDA as available and delivers the CPU: the session itself is asked."""
    bundle = open_version_directory(dot_version)
    with pytest.raises(ProviderUnavailable, match="cannot use CUDA here"):
        Engine(bundle, [(CUDA, {}), CPU], must_use_first=True)
    engine = Engine(bundle, [(CUDA, {}), CPU], must_use_first=False)
    assert engine.providers == [CPU]
    assert "CUDA does not run graph predict" in caplog.text


@with_gpu
def test_demanded_cuda_runs_and_is_named_where_there_is_a_device(dot_version, tmp_path, versions, serve):
    versions.copy(dot_version, tmp_path)
    api = serve(tmp_path, provider="cuda")  # the golden answers were checked on it
    assert api.catalog.GetModel(GetModelRequest()).model.execution_providers[0] == CUDA


def test_the_cpu_can_be_demanded_anywhere():
    assert requested_providers("cpu", 0) == [CPU]


@pytest.mark.parametrize("floats", [1682, 1_000_000, 9066 * 100, 10_000_000 * 100])
def test_a_run_takes_no_more_memory_than_it_may_unless_one_user_alone_does(floats):
    users = users_per_run(floats)
    assert users >= 1
    assert users == 1 or users * 2 * 4 * floats <= RUN_BYTES


def test_what_a_user_takes_is_scores_or_a_hidden_layer_or_maxima_of_blocks():
    def floats(**shapes):
        tables = {name: np.empty(shape, dtype=np.float32) for name, shape in shapes.items()}
        return floats_per_user(SimpleNamespace(manifest=SimpleNamespace(item_count=1000), tables=tables))

    assert floats(item_factors=(1001, 8)) == 1000
    assert floats(item_factors=(1001, 8), item_hidden=(1001, 100)) == 100_000
    assert floats(item_factors=(1001, 8), item_columns=(11, 1024)) == 250
