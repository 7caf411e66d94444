"""Share the device, the time that is left, the figures and the timing among the parts of benchmarks/cuda_machine.py."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cofactor_server.inference.execution_providers import CPU, Device, device_of, requested_providers

REPEATS = 15
# Calls that take this long together are not repeated any more.
LONG_S = 0.5


@dataclass
class Run:
    """One run of the benchmark.

    Attributes:
        device: the device, or the CPU in its place if there is no CUDA device.
        versions: folder of exported versions, which later runs use again.
        is_small: True for small catalogues and short loads.
        deadline: time.monotonic() at which no further part may begin.
        figures: what was measured, by name, for the comparison with the targets.
    """

    device: Device
    versions: Path
    is_small: bool
    deadline: float
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def is_on_cuda(self) -> bool:
        """Return True if the device is a CUDA device."""
        return self.device.provider != CPU

    @property
    def torch_device(self) -> str:
        """Return torch's name of the device."""
        return "cuda" if self.is_on_cuda else "cpu"

    @property
    def catalogues(self) -> tuple[int, ...]:
        """Return the numbers of items, smallest first."""
        return (1_682, 6_000) if self.is_small else (1_682, 100_000, 1_000_000, 10_000_000)

    @property
    def batches(self) -> tuple[int, ...]:
        """Return the numbers of users of a run."""
        return (1, 32) if self.is_small else (1, 8, 32, 128)

    def seconds_left(self) -> float:
        """Return the seconds until no further part may begin."""
        return self.deadline - time.monotonic()


Part = Callable[[Run], Iterator[str]]
# The text of a cell, and its figure, which is None if it could not be measured.
Cell = tuple[str, float | None]


def find_device() -> Device:
    """Return the CUDA device, or the CPU in its place if this machine has none. Raises ProviderUnavailable."""
    if torch.cuda.is_available():
        device = device_of(requested_providers("cuda", 0))
        assert device is not None
        return device
    return Device(CPU, "cpu", free_memory=lambda: None)


def median_ms(call: Callable[[], object]) -> float:
    """Time a call until its results are on the host -> the median of its milliseconds."""
    times: list[float] = []
    for number in range(REPEATS + 3):
        start = time.perf_counter()
        call()
        if number >= 3:  # the first ones warm up
            times.append(time.perf_counter() - start)
            if len(times) >= 3 and sum(times) > LONG_S:
                break
    return 1e3 * statistics.median(times)


def cell(call: Callable[[], float], digits: int = 3) -> Cell:
    """Measure one cell of a table; a failure is text and leaves the other cells alone."""
    try:
        figure = call()
    except Exception as error:  # ONNX Runtime's errors have no common base class
        return failed(error)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return f"{figure:,.{digits}f}", figure


def failed(error: Exception) -> Cell:
    """Return the cell of a failure."""
    text = " ".join(str(error).split()).replace("|", "/")
    return f"failed: {type(error).__name__}: {text[:120]}", None


def row(*cells: object) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def table_head(*names: str) -> Iterator[str]:
    """Yield the first two lines of a Markdown table."""
    yield row(*names)
    yield "|" + "---|" * len(names)
