"""What runs the graphs: CUDA where it really works, or the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from typing import Any

from cofactor_server.config import Provider
from cofactor_server.errors import ProviderUnavailable

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

ProviderList = list[str | tuple[str, dict[str, Any]]]


def requested_providers(provider: Provider, gpu_memory_mib: int) -> ProviderList:
    """ONNX Runtime's provider list to try, the preferred first.

    Raises ProviderUnavailable for "cuda" where there is no device or no CUDA build of ONNX Runtime.
    """
    if provider == "cpu":
        return [CPU]
    problem = _cuda_problem()
    if problem and provider == "cuda":
        raise ProviderUnavailable(f"--provider cuda: {problem}; use --provider cpu, or auto to take what works")
    if problem:
        return [CPU]
    options: dict[str, Any] = {
        "use_tf32": 0,  # TF32 changes ranks
        "arena_extend_strategy": "kSameAsRequested",
    }
    if gpu_memory_mib:
        options["gpu_mem_limit"] = gpu_memory_mib * 2**20
    return [(CUDA, options), CPU]


def _cuda_problem() -> str:
    """Why CUDA cannot be used; empty where it may. get_available_providers() says CUDA even without a GPU."""
    import onnxruntime

    if CUDA not in onnxruntime.get_available_providers():
        return "this build of onnxruntime has no CUDA"
    if n_cuda_devices() == 0:
        return "there is no CUDA device, or no driver for it"
    if hasattr(onnxruntime, "preload_dlls"):
        # It prints what it did not find; a missing library shows when the session is made.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    return ""


def n_cuda_devices() -> int:
    """CUDA devices that the driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
