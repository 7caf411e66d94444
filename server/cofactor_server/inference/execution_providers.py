"""Select ONNX Runtime's execution providers: CUDA if it works here, otherwise the CPU."""

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
    """Return ONNX Runtime's list of providers to try, the preferred one first.

    Raises ProviderUnavailable for "cuda" if there is no device or ONNX Runtime was built without CUDA.
    """
    if provider == "cpu":
        return [CPU]
    problem = _cuda_problem()
    if problem and provider == "cuda":
        raise ProviderUnavailable(f"--provider cuda: {problem}; use --provider cpu, or auto to take what works")
    if problem:
        return [CPU]
    options: dict[str, Any] = {
        "use_tf32": 0,  # TF32 changes the order of items
        "arena_extend_strategy": "kSameAsRequested",
    }
    if gpu_memory_mib:
        options["gpu_mem_limit"] = gpu_memory_mib * 2**20
    return [(CUDA, options), CPU]


def preferred_provider(providers: ProviderList) -> str:
    """Return the name of the first provider of a list."""
    return providers[0] if isinstance(providers[0], str) else providers[0][0]


def _cuda_problem() -> str:
    """Return why CUDA cannot be used, or an empty string."""
    import onnxruntime

    # get_available_providers() names CUDA even on machines without a GPU.
    if CUDA not in onnxruntime.get_available_providers():
        return "this build of onnxruntime has no CUDA"
    if n_cuda_devices() == 0:
        return "there is no CUDA device, or no driver for it"
    if hasattr(onnxruntime, "preload_dlls"):
        # It prints the libraries that it does not find. A missing one shows when a session is created.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    return ""


def n_cuda_devices() -> int:
    """Return the number of CUDA devices that the driver reports, 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
