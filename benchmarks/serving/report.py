"""Print the lines of a run, and write docs/benchmarks/serving.md."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from benchmarks.serving import tools
from benchmarks.serving.driver import QUIET, Measurement
from benchmarks.serving.scenarios import SCENARIOS, Results
from benchmarks.serving.targets import TARGETS, Judgement

PAGE = tools.ROOT / "docs/benchmarks/serving.md"
PLOTS = tools.ROOT / "docs/benchmarks"
PROFILE = tools.HERE / "profile.md"
"""The last section of the page; it explains the figures and is written by hand."""

INTRODUCTION = """# Serving benchmark

Written by `{command}` on {date}; do not edit.

**Machine**: {machine}.

## How it was measured

- The server runs on one core and the load driver on another, over the loopback interface, unless a row says otherwise.
- The load driver is written in Go. It sends requests that were serialised beforehand and compares every response with
  one computed in numpy. A single wrong response ends the run.
- The rows of a table are measured in turn, round after round. Figures are medians over the rounds, with the lowest and
  the highest in brackets.
- Latency is that of one call. In an open loop it counts from the time at which the call was due.
- CPU use is given in shares of one core: of the server, of the driver, and of other programs on the server's core and
  on the whole machine.
- A window in which other programs used more than {quiet:.0%} of the server's core is measured once more. Rows marked †
  had too few quiet windows to judge.
{priority}- Cofactor runs with its default settings: string ids, exclusion of rated items, interceptors, metrics. Only
  the response cache is off, except in the row of cache hits.
- The bare echo is grpcio's synchronous server. It responds with a constant of the same size and parses no requests.
- The peers run the same ONNX graph with the same ids and exclusions (benchmarks/serving/peers).
"""

PRIORITY_NOTE = """- In this run server and driver had priority (nice -15) over other programs. These got at most 4 %
  of a core that server or driver wanted, and otherwise what the two left idle. They still shared caches and memory.
"""


def measurement_line(name: str, found: Measurement) -> str:
    """Return one window as a line for the terminal."""
    note = "" if found.quiet else f"  other programs used {found.disturbance:.0%} of the server's core"
    return (
        f"{name:36} {found.rate:12,.0f}/s {found.cpu_us:9.1f} µs p50 {found.p50:.2f} p99 {found.p99:.2f} ms "
        f"driver {found.driver_cores:.0%}{note}"
    )


def target_line(judged: Judgement) -> str:
    """Return a judged target as a line for the terminal."""
    if judged.figure is None:
        return f"{judged.verdict:12} {judged.text}"
    by_cpu = "" if judged.by_cpu is None else f", by CPU time {judged.by_cpu:.2f}"
    return f"{judged.verdict:12} {judged.text}: {judged.figure:.2f} ({judged.low:.2f} to {judged.high:.2f}){by_cpu}"


def write(
    machine: str,
    command: str,
    date: str,
    results: Results,
    servers: Mapping[str, Mapping[str, float]],
    referee: Mapping[str, Mapping[str, float]],
) -> None:
    """Write the page and its plots."""
    parts = [
        INTRODUCTION.format(command=command, date=date, machine=machine, quiet=QUIET, priority=_priority(results)),
        _targets(results),
    ]
    for scenario, rows in groupby(results, key=lambda name: name.partition("/")[0]):
        parts.append(_scenario(scenario, {row.partition("/")[2]: results[row] for row in rows}))
    parts += [_servers(servers), _referee(referee, results), PROFILE.read_text()]
    PAGE.write_text("\n".join(parts))
    PLOTS.mkdir(exist_ok=True)
    drawn = {row: list(map(asdict, measurements)) for row, measurements in results.items()}
    subprocess.run(
        [tools.venv("plots") / "python", tools.HERE / "plots.py", PLOTS], input=json.dumps(drawn), text=True, check=True
    )


def _priority(results: Results) -> str:
    if not all(measurement.protected for measurements in results.values() for measurement in measurements):
        return ""
    return PRIORITY_NOTE


def _targets(results: Results) -> str:
    lines = ["## Targets", "", "| target | measured | by CPU time | verdict |", "|---|---|---|---|"]
    for target in TARGETS:
        found = target.judge(results)
        figure = "" if found.figure is None else f"{found.figure:.2f} ({found.low:.2f} to {found.high:.2f})"
        by_cpu = "" if found.by_cpu is None else f"{found.by_cpu:.2f}"
        lines.append(f"| {found.text} | {figure} | {by_cpu} | {found.verdict} |")
    return "\n".join([*lines, "", "![Requests per second](unary.svg)", ""])


def _scenario(name: str, rows: Mapping[str, Sequence[Measurement]]) -> str:
    title = (SCENARIOS[name].__doc__ or "").strip()
    lines = [f"## {name}", "", title, ""]
    lines += [
        "| | responses/s | server CPU µs per response | p50 | p90 | p99 | p99.9 ms | server | driver "
        "| others on its core | others anywhere |",
        "|---" * 11 + "|",
    ]
    for row, measurements in rows.items():
        mark = "" if sum(measurement.quiet for measurement in measurements) >= 3 else " †"
        cells = [_rate(measurements), _number(_median(measurements, "cpu_us"))]
        cells += [f"{_median(measurements, quantile):.2f}" for quantile in ("p50", "p90", "p99", "p999")]
        cells += [
            f"{_median(measurements, share):.0%}" for share in ("server_cores", "driver_cores", "disturbance", "others")
        ]
        lines.append(f"| {row}{mark} | " + " | ".join(cells) + " |")
    plot = f"\n![Latency]({name}.svg)\n" if name == "concurrency" else ""
    return "\n".join(lines) + "\n" + plot


def _rate(measurements: Sequence[Measurement]) -> str:
    rates = [measurement.rate for measurement in measurements]
    return f"**{statistics.median(rates):,.0f}** ({min(rates):,.0f} to {max(rates):,.0f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def _median(measurements: Sequence[Measurement], field: str) -> float:
    return statistics.median(getattr(measurement, field) for measurement in measurements)


def _servers(servers: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        "## Cold start and memory",
        "",
        "Cold start is the time from starting the process to its first response. Memory is measured after the load.",
        "",
    ]
    lines += ["| server | cold start s | resident MiB | shared pages counted once, MiB |", "|---|---|---|---|"]
    for name, facts in servers.items():
        cells = f"{facts['cold_start']:.2f} | {facts['resident']:,.0f} | {facts['proportional']:,.0f}"
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _referee(referee: Mapping[str, Mapping[str, float]], results: Results) -> str:
    lines = [
        "## Referee",
        "",
        "ghz with 64 calls in flight over 8 connections, against the same servers in the same run. ghz parses every "
        "response and runs its threads on one core, so it may reach less than our driver.",
    ]
    lines += ["", "| server | ghz requests/s | our driver | ghz p50 ms | ghz p99 ms |", "|---|---|---|---|---|"]
    for server, row in (("echo", "unary/echo"), ("cofactor", "unary/Recommend")):
        if server in referee:
            found, ours = referee[server], _median(results[row], "rate")
            lines.append(f"| {server} | {found['rate']:,.0f} | {ours:,.0f} | {found['p50']:.2f} | {found['p99']:.2f} |")
    return "\n".join(lines) + "\n"
