"""The machine: what it is, and who used its processors during a measurement."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
DRIVER_CORE = CORES[-1]


def describe() -> str:
    """Processor, memory and system, for people."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    release = ".".join(platform.release().split(".")[:2])
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {len(CORES)} cores, {memory:.0f} GiB, Linux {release}, Python {platform.python_version()}"


@dataclass(frozen=True)
class Usage:
    """CPU seconds until now of a server's processes, of the driver, and of the whole machine."""

    server: float
    driver: float
    machine: float

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(self.server - earlier.server, self.driver - earlier.driver, self.machine - earlier.machine)

    @property
    def others(self) -> float:
        """CPU seconds of everything else."""
        return max(0.0, self.machine - self.server - self.driver)


def usage(server: psutil.Process, driver: psutil.Process) -> Usage:
    """Read the clocks. Hypervisor time (steal) counts as used by others."""
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    return Usage(sum(_seconds(each) for each in tree(server)), _seconds(driver), busy)


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it."""
    return [process, *process.children(recursive=True)]


def memory(process: psutil.Process) -> tuple[float, float]:
    """Resident and proportional memory of a process and all below it, MiB; proportional counts shared pages once."""
    resident = proportional = 0
    for each in tree(process):
        full = each.memory_full_info()
        resident += full.rss
        proportional += full.pss
    return resident / 2**20, proportional / 2**20


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
