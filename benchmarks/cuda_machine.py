"""Measure a CUDA machine in minutes: start, parity, Recommend, placement, device memory, the server, training.

    python -m benchmarks.cuda_machine [--seconds 540] [--versions FOLDER] [--output docs/benchmarks/cuda.md]

The parts run in the order of their importance. Every line is printed, and the page written again, as soon as it is
measured, so a run that is cut off keeps what it has. No part begins after --seconds. A part that fails is reported in
its place; the others go on, and the exit status is 1. --versions keeps the exported versions for the next run.

Without a CUDA device every part runs as far as it can with the CPU in the place of the device, and says so. That run
shows only that the script works; a test makes it with --small.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

import onnxruntime
import torch

from benchmarks.cuda.graphs import networks, placement, start_and_parity
from benchmarks.cuda.recommend import recommend_times
from benchmarks.cuda.run import Part, Run, find_device
from benchmarks.cuda.serving import server_throughput, training
from benchmarks.cuda.targets import targets
from cofactor_server.errors import ProviderUnavailable

PARTS: dict[str, Part] = {
    "Start and parity": start_and_parity,
    "Recommend": recommend_times,
    "Placement and device memory": placement,
    "Server": server_throughput,
    "Training": training,
    "Networks": networks,
}


class Page:
    """A page that is printed line by line, and written again with every line.

    Attributes:
        n_failed: number of parts that failed.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lines: list[str] = []
        self.n_failed = 0

    def add(self, *lines: str) -> None:
        """Add lines."""
        self._lines += lines
        print(*lines, sep="\n", flush=True)
        if self._path is not None:
            self._path.write_text("\n".join(self._lines).rstrip() + "\n", encoding="utf-8")

    def add_part(self, name: str, part: Part, run: Run) -> None:
        """Run a part and add its lines, or say why there are none."""
        self.add("", f"## {name}", "")
        if run.seconds_left() < 0:
            self.add("Left out: no time left.")
            return
        started = time.monotonic()
        try:
            for line in part(run):
                self.add(line)
        except Exception as error:
            traceback.print_exc()
            self.n_failed += 1
            self.add("", f"**FAILED**: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        self.add("", f"This part took {time.monotonic() - started:.0f} s.")


def device_name() -> str:
    """Return the name of the device, or say that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a machine without CUDA"


def machine() -> str:
    """Describe the machine and its software."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )


def measure(run: Run, page: Page, command: str) -> None:
    """Run every part, then compare what was measured with the targets."""
    page.add(f"# CUDA: {device_name()}", "", f"`{command}`: {machine()}.")
    if not run.is_on_cuda:
        page.add("", "**No CUDA device: the CPU ran in its place.** The figures say nothing about a device.")
    for name, part in PARTS.items():
        page.add_part(name, part, run)
    page.add("", "## Targets", "")
    page.add(*targets(run))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=540, help="no part begins after this time")
    parser.add_argument("--small", action="store_true", help="use small catalogues and short loads")
    parser.add_argument("--versions", type=Path, metavar="FOLDER", help="folder that keeps the exported versions")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    try:
        device = find_device()
    except ProviderUnavailable as error:
        print(f"error: there is a CUDA device, but ONNX Runtime does not use it: {error}", file=sys.stderr)
        return 2
    page = Page(arguments.output)
    with tempfile.TemporaryDirectory() as folder:
        versions = arguments.versions or Path(folder)
        run = Run(device, versions, arguments.small, time.monotonic() + arguments.seconds)
        measure(run, page, f"python -m benchmarks.cuda_machine {' '.join(sys.argv[1:])}".strip())
    return int(page.n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
