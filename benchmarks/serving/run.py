"""Measure Cofactor's server beside bare echoes and its peers, and write docs/benchmarks/serving.md.

The server runs on one core and the load driver on another. The rows of a scenario are measured in turn, round after
round, so that changes of the machine affect all of them. Every response is checked. A window in which other programs
used more than 15 % of the server's core is measured once more, and not judged if that does not help. On a busy machine,
start the command with `nice -n -15` to keep other programs off the server's core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.serving import capacity, referee, report, tools
from benchmarks.serving.driver import Measurement, measure
from benchmarks.serving.machine import describe
from benchmarks.serving.scenarios import NEEDS, SCENARIOS, STREAM_METHOD, Context, Results, Row
from benchmarks.serving.server_process import RunningServer, ServerSpec
from benchmarks.serving.targets import TARGETS

REPEATS = 30
"""Most windows of a run that are measured again because other programs used the machine."""


@dataclass(frozen=True)
class Pace:
    """The length of a run: its rounds, and the seconds of each warm-up and window."""

    rounds: int
    warmup: float
    seconds: float


FULL, QUICK = Pace(3, 0.5, 2.5), Pace(1, 0.5, 1.0)


@dataclass
class Run:
    """The results of a run: measurements by row, cold start and memory by server."""

    machine: str
    command: str
    date: str
    results: Results = field(default_factory=dict)
    servers: dict[str, dict[str, float]] = field(default_factory=dict)
    referee: dict[str, dict[str, float]] = field(default_factory=dict)
    repeats_left: int = REPEATS


def start(specs: Sequence[ServerSpec], rows: Sequence[Row], run: Run) -> dict[str, RunningServer]:
    """Start the servers one after another, so that their cold starts do not disturb each other."""
    running: dict[str, RunningServer] = {}
    try:
        for spec in specs:
            loads = [row.load for row in rows if row.server.name == spec.name]
            first = next(load for load in loads if load.method in ("", STREAM_METHOD)).workload.path.read_bytes()
            length = int.from_bytes(first[:4], "little")
            running[spec.name] = RunningServer(
                spec, first[4 : 4 + length], tools.CACHE / f"{spec.name}.log".replace(" ", "_")
            )
            run.servers[spec.name] = {"cold_start": running[spec.name].cold_start}
    except BaseException:
        stop(running)
        raise
    return running


def stop(running: dict[str, RunningServer]) -> None:
    """Stop every server."""
    for server in running.values():
        server.stop()


def window(row: Row, server: RunningServer, pace: Pace, driver: Path, run: Run) -> Measurement:
    """Measure one window; repeat it once if other programs used the machine."""
    found = measure(driver, server, row.load, pace.warmup, pace.seconds, row.shared)
    if not found.quiet and pace.rounds > 1 and run.repeats_left > 0:
        run.repeats_left -= 1
        found = measure(driver, server, row.load, pace.warmup, pace.seconds, row.shared)
    return found


def run_scenario(name: str, context: Context, run: Run, pace: Pace, driver: Path) -> None:
    """Measure every row of a scenario in every round."""
    rows = SCENARIOS[name](context)
    running = start(list({row.server.name: row.server for row in rows}.values()), rows, run)
    try:
        for number in range(pace.rounds):
            for row in rows:
                found = window(row, running[row.server.name], pace, driver, run)
                run.results.setdefault(f"{name}/{row.name}", []).append(found)
                print(f"{name} {number + 1}/{pace.rounds}", report.measurement_line(row.name, found), flush=True)
        for server in running.values():
            resident, proportional = server.memory()
            run.servers[server.spec.name] |= {"resident": resident, "proportional": proportional}
        if name == "unary":
            run.referee = {row: referee.measure(running[row], context, pace.seconds) for row in ("echo", "cofactor")}
    finally:
        stop(running)


def revision() -> str:
    """Return the revision that is measured."""
    git = ["git", "-C", str(tools.ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()


def chosen(wanted: Sequence[str]) -> list[str]:
    """Return the chosen scenarios in their order, with the scenarios that they need."""
    names = set(wanted or SCENARIOS) | {NEEDS[name] for name in wanted if name in NEEDS}
    return [name for name in SCENARIOS if name in names]


def main() -> None:
    """Run the chosen scenarios and print the targets; write the pages after a full run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="run one short round, to see that everything works; nothing is judged"
    )
    parser.add_argument(
        "--scenario", action="append", default=[], choices=SCENARIOS, help="run only this scenario; may be repeated"
    )
    arguments = parser.parse_args()
    pace = QUICK if arguments.quick else FULL
    command = " ".join(["python -m benchmarks.serving.run", *sys.argv[1:]])
    run = Run(f"{describe()}, revision {revision()}", command, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
    context, driver = Context(run.results), tools.driver()
    for name in chosen(arguments.scenario):
        run_scenario(name, context, run, pace, driver)
        (tools.CACHE / "results.json").write_text(json.dumps(asdict(run), indent=1))
    for target in TARGETS:
        print(report.target_line(target.judge(run.results)))
    if not arguments.quick and not arguments.scenario:
        report.write(run.machine, run.command, run.date, run.results, run.servers, run.referee)
        capacity.write(run.results, run.servers, run.machine, run.date)


if __name__ == "__main__":
    main()
