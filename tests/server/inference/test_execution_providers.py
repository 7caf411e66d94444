"""Test that CUDA is used only where it works, and that --provider cuda fails where it does not."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor_server.errors import ProviderUnavailable
from cofactor_server.inference import execution_providers
from cofactor_server.inference.device.cuda_driver import free_device_memory, n_cuda_devices
from cofactor_server.inference.device.recommend_graph import CatalogueShape, recommend_graph
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import (
    CPU,
    CUDA,
    LONGEST_REASON,
    Device,
    probe_cuda,
    reason_of,
    requested_providers,
    unavailable,
)
from cofactor_server.inference.memory_budget import RUN_BYTES, floats_per_user, users_per_run
from cofactor_server.inference.sessions import load_model, session_options
from cofactor_server.repository.version_directory import open_version_directory

without_gpu = pytest.mark.skipif(n_cuda_devices() > 0, reason="this machine has a CUDA device")


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
def test_a_device_that_takes_no_tables_is_noticed(dot_version, caplog):
    directory = open_version_directory(dot_version)
    with pytest.raises(ProviderUnavailable, match="graph recommend of dot/1: "):
        Engine(directory, [(CUDA, {}), CPU], must_use_first=True)
    engine = Engine(directory, [(CUDA, {}), CPU], must_use_first=False)
    engine.warm_up(8)
    assert engine.providers == [CPU]
    assert "the CPU runs graph predict: " in caplog.text


@without_gpu
def test_a_session_that_onnx_runtime_moved_to_the_cpu_is_noticed():
    model = recommend_graph(CatalogueShape(11, 128))
    with pytest.raises(RuntimeError, match="did not start CUDAExecutionProvider"):
        load_model(model, Device(CUDA, "cuda"), session_options("recommend", on_device=True))


@without_gpu
def test_the_reason_is_that_of_onnx_runtime():
    """This build has CUDA, so ONNX Runtime tries to start it, and says in its log why it cannot."""
    reason = probe_cuda()
    assert reason
    assert "/" not in reason.replace("CUDA/", "")
    assert "\n" not in reason
    assert not reason.startswith("[")


LIBRARY = (
    "\x1b[1;31m2026-11-26 14:39:11 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] /onnxruntime_src/"
    "provider_bridge_ort.cc:2043 onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load "
    "library /opt/venv/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: "
    "libcublasLt.so.13: cannot open shared object file: No such file or directory\x1b[m"
)
FAILURE = "/onnxruntime_src/core/providers/cuda/cuda_call.cc:129 CUDA failure {}: {} ; GPU=0 ; hostname=pod-7 ; expr=x"


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        (
            LIBRARY,
            "Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared "
            "object file: No such file or directory",
            "install the CUDA libraries",
        ),
        (
            FAILURE.format(35, "CUDA driver version is insufficient for CUDA runtime version"),
            "cuda_call.cc:129 CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
            "update the NVIDIA driver",
        ),
        (FAILURE.format(2, "out of memory"), "cuda_call.cc:129 CUDA failure 2: out of memory", "free device memory"),
        (FAILURE.format(100, "no CUDA-capable device is detected"), "no CUDA-capable device", "--gpus all"),
        ("something new", "something new", "use --provider cpu, or auto"),
    ],
)
def test_a_reason_has_no_paths_and_a_remedy_that_fits(text, reason, remedy):
    found = reason_of(text)
    assert reason in found
    assert "/" not in found
    assert "pod-7" not in found
    message = unavailable(found)
    assert message.startswith("--provider cuda: ")
    assert remedy in message
    assert message.endswith("use --provider cpu, or auto to take what works")


def test_a_reason_is_never_long():
    assert len(reason_of("x" * 5000)) <= LONGEST_REASON


@without_gpu
def test_a_device_that_does_not_work_is_logged_with_the_reason(monkeypatch, caplog):
    monkeypatch.setattr(execution_providers, "n_cuda_devices", lambda: 1)
    assert requested_providers("auto", 0) == [CPU]
    assert "all graphs run on the CPU although there is a CUDA device: " in caplog.text
    with pytest.raises(ProviderUnavailable, match=r"^--provider cuda: "):
        requested_providers("cuda", 0)


@without_gpu
def test_without_a_driver_there_is_no_device_and_no_figure_of_its_memory():
    assert n_cuda_devices() == 0
    assert free_device_memory() is None


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
