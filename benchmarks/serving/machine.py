"""The machine: what it is, and who used its processors during a measurement."""

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
"""Its weight is 28 times that of other work: where both want a core, others get 4 % of it."""


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
    """CPU seconds until now.

    Attributes:
        server: of a server's processes.
        driver: of the load driver.
        machine: of everything on every core.
        server_cores: of everything on the cores that the server may use.
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
        """CPU seconds of anything else, wherever it ran."""
        return max(0.0, self.machine - self.server - self.driver)

    def disturbance(self, *, shared: bool) -> float:
        """CPU seconds of anything else on the server's cores; shared: the driver runs there too."""
        return max(0.0, self.server_cores - self.server - (self.driver if shared else 0.0))


def usage(server: psutil.Process, driver: psutil.Process, server_cores: Sequence[int]) -> Usage:
    """Read the clocks. Hypervisor time (steal) counts as used by others."""
    busy = [
        times.user + times.nice + times.system + times.irq + times.softirq + times.steal
        for times in psutil.cpu_times(percpu=True)
    ]
    return Usage(
        sum(_seconds(each) for each in tree(server)),
        _seconds(driver),
        sum(busy),
        sum(busy[core] for core in server_cores),
    )


def has_priority() -> bool:
    """Whether this run was started with `nice -n -15` or the like."""
    return os.getpriority(os.PRIO_PROCESS, 0) <= PRIORITY


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """What is started meanwhile runs on these cores: it inherits them from this thread.

    Not a preexec_fn: that runs between fork and exec, where a lock that another thread held stays locked for ever.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def prioritise(process: psutil.Process) -> None:
    """Give a process and all below it the priority of this run, against other sessions too.

    Linux shares a core among sessions first (autogroup); `nice` alone counts inside one only.
    """
    if has_priority():
        for each in tree(process):
            group = Path(f"/proc/{each.pid}/autogroup")
            if group.exists():
                group.write_text(str(PRIORITY))


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
