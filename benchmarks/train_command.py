"""Measure how long `cofactor-train` takes, phase by phase, beside the same command without templates of the graphs.

    COFACTOR_ML100K=/data/ml-100k python -m benchmarks.train_command --runs 3 --output docs/benchmarks/train-command.md

A phase begins with a line that the command prints. Every round runs all commands once, so that the machine is equally
busy for all of them. Importing torch alone is the reference: no training can take less. The bytecode of all libraries
is compiled before the first round, as it is from the second run of an installation on.

Targets on two cores: the command 12 s, `--help` 1 s.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.datasets import ml_100k_folder

MAX_SECONDS, MAX_HELP_SECONDS = 12.0, 1.0
# How the line begins that begins a phase.
PHASES = ("starting", "reading", "training", "measuring", "waiting", "exporting", "exported")
TRACED = """
import sys
from cofactor_trainer.graphs import onnx_writer
onnx_writer.graph_from_template = lambda spec: None
from cofactor_trainer.__main__ import main
sys.exit(main())
"""
TRAIN, HELP, TORCH, WITHOUT = "cofactor-train", "cofactor-train --help", "import torch", "the same without templates"


@dataclass
class Run:
    """Duration of a process, its processor time, and the duration of its phases, in seconds."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)


def _phase_of(line: str) -> str:
    """Return the name of the phase that a line begins: its first two words, without the path of the ratings."""
    words = line.split(":")[0].split()[:2]
    return words[0] if words[0] == "reading" else " ".join(words)


def run(command: Sequence[str], environment: dict[str, str]) -> Run:
    """Run a command and time it and the lines that begin its phases."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [(time.perf_counter() - started, _phase_of(line)) for line in process.stdout if line.startswith(PHASES)]
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command[1:4])} failed with {process.returncode}")
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    phases: dict[str, float] = {}
    for (begin, name), (end, _) in pairwise([*lines, (seconds, "")]):
        phases[name] = phases.get(name, 0.0) + end - begin
    used = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return Run(seconds, used, phases)


def measure(runs: int, recipe: str | None) -> dict[str, list[Run]]:
    """Run every command `runs` times, in turn, after a round that only compiles the bytecode."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "PYTHONUNBUFFERED": "1"}
        train = ["train", "--dataset", str(ml_100k_folder()), "--device", "cpu"]
        train += ["--recipe", recipe] if recipe else []
        found: dict[str, list[Run]] = {}
        for number in range(runs + 1):
            output = ["--output", f"{folder}/models", "--version"]
            for name, command in {
                TORCH: ["-c", "import torch"],
                HELP: ["-m", "cofactor_trainer", "--help"],
                TRAIN: ["-m", "cofactor_trainer", *train, *output, f"{number}"],
                WITHOUT: ["-c", TRACED, *train, *output, f"{number}-traced"],
            }.items():
                measured = run([sys.executable, *command], environment)
                print(
                    f"round {number}, {name}: {measured.seconds:.1f} s, {measured.cpu_seconds:.1f} s of CPU", flush=True
                )
                if number:
                    found.setdefault(name, []).append(measured)
        return found


def table(found: dict[str, list[Run]]) -> list[str]:
    """Return the rows of the page: medians, and the spread of the durations."""
    lines = ["| command | seconds | range | seconds of processor time | times import torch |", "|---|---|---|---|---|"]
    reference = statistics.median(measured.cpu_seconds for measured in found[TORCH])
    for name, runs in found.items():
        seconds, used = ([getattr(one, field) for one in runs] for field in ("seconds", "cpu_seconds"))
        median = statistics.median(used)
        lines.append(
            f"| {name} | {statistics.median(seconds):.1f} | {min(seconds):.1f} to {max(seconds):.1f} | {median:.1f} | "
            f"{median / reference:.1f} |"
        )
    lines += ["", "| phase, seconds | with templates | without |", "|---|---|---|"]
    for phase in found[TRAIN][0].phases:
        with_, without = (
            statistics.median(one.phases.get(phase, 0.0) for one in found[name]) for name in (TRAIN, WITHOUT)
        )
        lines.append(f"| {phase} | {with_:.2f} | {without:.2f} |")
    return lines


def document(lines: Sequence[str], runs: int) -> str:
    """Return the page."""
    import onnxruntime
    import torch

    head = f"""# The command cofactor-train

How long `cofactor-train` takes on MovieLens 100k from the command line to the published version: training on 80 %,
measuring, training again on everything, exporting. Medians of {runs} rounds.
[Decision 0012](../decisions/0012-graphs-from-templates.md) explains the templates. A phase runs from its line to the
next one. The ratios are of processor time, which other programs on the machine change less.

`python -m benchmarks.train_command --runs {runs}` on {platform.machine()}, {os.cpu_count()} cores, load
{os.getloadavg()[2]:.1f}, torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}.
"""
    return "\n".join([head, *lines, ""])


def main() -> int:
    """Measure and print; return 1 if --check is given and a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--recipe", metavar="NAME", help="recipe to train (default: the default of cofactor-train)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    flags = parser.parse_args()
    found = measure(flags.runs, flags.recipe)
    lines = table(found)
    print("\n".join(lines))
    if flags.output is not None:
        flags.output.write_text(document(lines, flags.runs), encoding="utf-8")
    slow = [
        name
        for name, limit in ((TRAIN, MAX_SECONDS), (HELP, MAX_HELP_SECONDS))
        if statistics.median(one.seconds for one in found[name]) > limit
    ]
    print(f"targets missed: {', '.join(slow)}" if slow else "targets met")
    return 1 if flags.check and slow else 0


if __name__ == "__main__":
    sys.exit(main())
