"""Select ONNX Runtime's execution providers: CUDA if it works here, otherwise the CPU."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cofactor_server.config import Provider
from cofactor_server.errors import ProviderUnavailable
from cofactor_server.inference.device.cuda_driver import free_device_memory, n_cuda_devices
from cofactor_server.inference.device.onnx_model import FLOAT, GraphBuilder

_LOGGER = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
LONGEST_REASON = 300

ProviderList = list[str | tuple[str, dict[str, Any]]]

# Part of a reason, in lower case -> what the operator can do about it. The first that matches counts.
_REMEDIES = (
    (
        "cannot open shared object",
        "install the CUDA libraries that this ONNX Runtime needs (the extra cofactor[cuda] has them)",
    ),
    ("driver version is insufficient", "update the NVIDIA driver, or install an onnxruntime-gpu for an older CUDA"),
    ("no kernel image", "install an onnxruntime-gpu that supports this device"),
    ("out of memory", "free device memory, or serve fewer versions"),
    ("no cuda-capable device", "make a device visible to this process (containers: --gpus all)"),
    ("no cuda device", "make a device visible to this process (containers: --gpus all)"),
    ("has no cuda", "install the extra cofactor[server]; server-cpu has no CUDA"),
)


@dataclass(frozen=True)
class Device:
    """A device that may run graphs in place of the CPU.

    Attributes:
        provider: its execution provider.
        memory: ONNX Runtime's name for its memory.
        options: options of the provider.
        free_memory: returns its free bytes, or None if that is not known.
    """

    provider: str
    memory: str
    options: dict[str, Any] = field(default_factory=dict)
    free_memory: Callable[[], int | None] = free_device_memory

    @property
    def providers(self) -> ProviderList:
        """Return the list of providers for a session on the device."""
        return [(self.provider, self.options)] if self.provider == CPU else [(self.provider, self.options), CPU]


def requested_providers(provider: Provider, gpu_memory_mib: int) -> ProviderList:
    """Return ONNX Runtime's list of providers to try, the preferred one first.

    Raises ProviderUnavailable for "cuda" if CUDA does not work.
    """
    if provider == "cpu":
        return [CPU]
    problem = cuda_problem()
    if problem and provider == "cuda":
        raise ProviderUnavailable(unavailable(problem))
    if problem:
        if n_cuda_devices():
            _LOGGER.warning("all graphs run on the CPU although there is a CUDA device: %s", unavailable(problem, ""))
        return [CPU]
    options: dict[str, Any] = {
        "use_tf32": 0,  # TF32 changes the order of items
        "arena_extend_strategy": "kSameAsRequested",
    }
    if gpu_memory_mib:
        options["gpu_mem_limit"] = gpu_memory_mib * 2**20
    return [(CUDA, options), CPU]


def device_of(providers: ProviderList) -> Device | None:
    """Return the device that a list of providers prefers, or None for the CPU."""
    first = providers[0]
    name, options = (first, {}) if isinstance(first, str) else first
    return Device(CUDA, "cuda", options) if name == CUDA else None


def unavailable(problem: str, flag: str = "--provider cuda: ") -> str:
    """Say in one sentence why CUDA cannot be used, and what to do about it."""
    remedy = next((f"{text}; or " for sign, text in _REMEDIES if sign in problem.lower()), "")
    return f"{flag}{problem}; {remedy}use --provider cpu, or auto to take what works"


def reason_of(text: str) -> str:
    """Return what a text of ONNX Runtime says, without its prefixes and without paths."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(text.split()))
    text = re.sub(r"(?<![\w.:/])(?:/[\w.+@-]+)+/(?=[\w.])", "", text)
    text = text.partition(" ; GPU=")[0]  # then come the host's name and the expression
    return text[:LONGEST_REASON].rstrip(" .;,:")


def cuda_problem() -> str:
    """Return why CUDA cannot be used, or an empty string: run a small graph on it."""
    import onnxruntime

    # get_available_providers() names CUDA even on machines without a GPU.
    if CUDA not in onnxruntime.get_available_providers():
        return "this build of onnxruntime has no CUDA"
    if n_cuda_devices() == 0:
        return "there is no CUDA device, or no driver for it"
    return probe_cuda()


def probe_cuda() -> str:
    """Return ONNX Runtime's own reason why it cannot run a graph with CUDA, or an empty string."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        # It prints the libraries that it does not find. A missing one shows when the session is created.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    graph = GraphBuilder("probe", opset=17)
    x = graph.input("x", FLOAT, [1])
    graph.output("y", graph.add("Add", x, x), FLOAT, [1])
    options = onnxruntime.SessionOptions()
    with _standard_error() as lines:
        _reserve_no_more_than_needed()
        try:
            session = onnxruntime.InferenceSession(graph.serialize(), options, providers=[CUDA, CPU], enable_fallback=0)
            if session.get_providers()[0] == CUDA:
                session.run(None, {"x": np.ones(1, dtype=np.float32)})
                return ""
        except Exception as error:  # ONNX Runtime's errors have no common base class
            return reason_of(str(error)) or type(error).__name__
    # It falls back to the CPU without an error, and only its log says why.
    signs = [line for line in lines if "[E:" in line or "[W:" in line]
    return reason_of(signs[0]) if signs else "ONNX Runtime does not start CUDA and gives no reason"


def _reserve_no_more_than_needed() -> None:
    """Make the allocator of device tables extend by what is asked for.

    By default it doubles with each extension: a table of 268 MB would reserve 512 MB. The function has no public name
    and logs that it is deprecated; without it, only memory is lost.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from onnxruntime.capi import _pybind_state as state

        state.set_arena_extend_strategy(state.ArenaExtendStrategy.kSameAsRequested)


@contextlib.contextmanager
def _standard_error() -> Iterator[list[str]]:
    """Collect what libraries write to the standard error; yield a list that is filled at the end."""
    lines: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
