"""Describe the machine and measure who uses its processors."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
DRIVER_CORE = CORES[-1]
PRIORITY = -15
"""Niceness of a run with priority. Its weight is 28 times the usual one: other programs get 4 % of a contested core."""


def describe() -> str:
    """Describe processor, memory and system in one line."""
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
    """CPU seconds used up to a moment.

    Attributes:
        server: by the server's processes.
        driver: by the load driver.
        machine: by everything on all cores.
        server_cores: by everything on the cores that the server may use.
    """

    server: float
    driver: float
    machine: float
    server_cores: float

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(
            self.server - earlier.server,
            self.driver - earlier.driver,
            self.machine - earlier.machine,
            self.server_cores - earlier.server_cores,
        )

    @property
    def others(self) -> float:
        """Return the CPU seconds of other programs on all cores."""
        return max(0.0, self.machine - self.server - self.driver)

    def disturbance(self, *, shared: bool) -> float:
        """Return the CPU seconds of other programs on the server's cores; `shared` if the driver runs there too."""
        return max(0.0, self.server_cores - self.server - (self.driver if shared else 0.0))


def usage(server: psutil.Process, driver: psutil.Process, server_cores: Sequence[int]) -> Usage:
    """Read the CPU clocks; time that the hypervisor took (steal) counts as used by other programs."""
    busy = [
        times.user + times.nice + times.system + times.irq + times.softirq + times.steal
        for times in psutil.cpu_times(percpu=True)
    ]
    return Usage(
        sum(map(_seconds, tree(server))),
        _seconds(driver),
        sum(busy),
        sum(busy[core] for core in server_cores),
    )


def has_priority() -> bool:
    """Return True if this run was started with `nice -n -15` or a higher priority."""
    return os.getpriority(os.PRIO_PROCESS, 0) <= PRIORITY


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Start processes on these cores: they inherit the affinity of this thread.

    A preexec_fn would not be safe: it runs between fork and exec, where a lock of another thread stays locked for ever.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def prioritise(process: psutil.Process) -> None:
    """Give a process and its descendants the priority of this run, also against other login sessions.

    Linux divides a core among sessions first (autogroup); `nice` alone counts only within one session.
    """
    if has_priority():
        for member in tree(process):
            group = Path(f"/proc/{member.pid}/autogroup")
            if group.exists():
                group.write_text(str(PRIORITY))


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and its descendants."""
    return [process, *process.children(recursive=True)]


def memory(process: psutil.Process) -> tuple[float, float]:
    """Return resident and proportional MiB of a process and its descendants; proportional counts shared pages once."""
    resident = proportional = 0
    for member in tree(process):
        full = member.memory_full_info()
        resident += full.rss
        proportional += full.pss
    return resident / 2**20, proportional / 2**20


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
