"""Decide from timed runs which sizes of a graph's runs a device takes, and send every run to its place."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cofactor_server.arrays import AnyArray
from cofactor_server.errors import DeviceFailed
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.execution_providers import reason_of

# The device must be faster by this factor: trials vary, and the CPU runs several calls at once.
MARGIN = 0.9
# A run that takes this long is not repeated, and not tried on the CPU with more users if the device is far ahead.
LONG_RUN_S = 0.25
FAR_AHEAD = 4
REPEATS = 5

Seconds = Callable[[int], float]


@dataclass(frozen=True)
class Trial:
    """Times of runs of one size, in seconds.

    Attributes:
        size: number of users, pairs or candidates.
        cpu_s: time on the CPU; None if it was not tried because the device is far ahead, or failed.
        device_s: time on the device; None if the run failed there.
    """

    size: int
    cpu_s: float | None
    device_s: float | None


@dataclass(frozen=True)
class Placement:
    """Say where the runs of a graph go: to the device or to the CPU.

    Attributes:
        graph: name of the graph.
        trials: the trials, smallest size first; empty if there were none.
        on_device: for every trial, True if the device takes runs from this size on.
        reason: one sentence for people.
    """

    graph: str
    trials: tuple[Trial, ...]
    on_device: tuple[bool, ...]
    reason: str

    @property
    def uses_device(self) -> bool:
        """Return True if runs of any size go to the device."""
        return any(self.on_device)

    def takes(self, size: int) -> bool:
        """Return True if a run of this size goes to the device: as in the largest trial that is not larger."""
        position = bisect_right([trial.size for trial in self.trials], size) - 1
        return position >= 0 and self.on_device[position]


def measure(sizes: Sequence[int], on_cpu: Seconds, on_device: Seconds) -> list[Trial]:
    """Try every size on both. The device's errors are not hidden: the caller knows which of them may pass."""
    trials: list[Trial] = []
    for size in sizes:
        device_s = on_device(size)
        previous = trials[-1] if trials else None
        is_decided = (
            previous is not None
            and (previous.cpu_s is None or previous.cpu_s > LONG_RUN_S)
            and (previous.cpu_s is None or (previous.device_s or 0) * FAR_AHEAD < previous.cpu_s)
        )
        trials.append(Trial(size, None if is_decided else on_cpu(size), device_s))
    return trials


def decide(graph: str, trials: Sequence[Trial], *, is_pinned: bool = False) -> Placement:
    """Choose the device for every size at which it was faster, or for a pinned graph for every size that it can run."""
    on_device = tuple(trial.device_s is not None and (is_pinned or _is_faster(trial)) for trial in trials)
    if is_pinned:
        reason = "pinned to the device by --gpu-graphs"
    elif not any(on_device):
        reason = "the CPU was faster at every size"
    elif all(on_device):
        reason = "the device was faster at every size"
    else:
        reason = "each size runs where it was faster"
    return Placement(graph, tuple(trials), on_device, reason)


def on_cpu(graph: str, reason: str) -> Placement:
    """Return the placement of a graph that the device does not run."""
    return Placement(graph, (), (), reason)


def _is_faster(trial: Trial) -> bool:
    if trial.device_s is None:
        return False
    return trial.cpu_s is None or trial.device_s < MARGIN * trial.cpu_s


def shortest_run_s(run: Callable[[], object]) -> float:
    """Run once to warm up and then a few times -> the shortest time, in seconds. A long run is not repeated.

    The first run does not count: on a device it loads kernels and plans memory, which takes up to a second.
    """
    run()
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < LONG_RUN_S:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


class PlacedSession:
    """Runs a graph on the CPU or on a device, by the size of the run.

    Args:
        cpu: runs it on the CPU.
        device: runs it on the device.
        placement: says which sizes go to the device.
        size_of: returns the size of a run from its inputs.
        is_accepted: returns True if the device can run these inputs.
        failure: is told of a run that fails on the device. The inputs have been checked, so the device is at fault.
    """

    def __init__(
        self,
        cpu: Callable[..., list[Any]],
        device: Callable[..., list[Any]],
        placement: Placement,
        size_of: Callable[[Mapping[str, AnyArray]], int],
        is_accepted: Callable[[Mapping[str, AnyArray]], bool],
        failure: DeviceFailure,
    ) -> None:
        self._cpu, self._device = cpu, device
        self._placement, self._size_of, self._is_accepted = placement, size_of, is_accepted
        self._failure = failure

    def run(self, outputs: Sequence[str], inputs: Mapping[str, AnyArray], *options: object) -> list[Any]:
        """Run the graph like onnxruntime does. RunOptions are those of the CPU. Raises DeviceFailed."""
        if not self._placement.takes(self._size_of(inputs)) or not self._is_accepted(inputs):
            return self._cpu(outputs, inputs, *options)
        try:
            return self._device(outputs, inputs)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            self._failure.report(reason_of(str(error)) or type(error).__name__)
            raise DeviceFailed from None
