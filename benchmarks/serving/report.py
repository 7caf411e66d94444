"""What a run prints, and docs/benchmarks/serving.md."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from benchmarks.serving import tools
from benchmarks.serving.bars import BARS, Judgement
from benchmarks.serving.driver import QUIET, Measurement
from benchmarks.serving.scenarios import SCENARIOS, Results

PAGE = tools.ROOT / "docs/benchmarks/serving.md"
PLOTS = tools.ROOT / "docs/benchmarks"
PROFILE = tools.HERE / "profile.md"
"""Written by hand: no script can say why."""

INTRODUCTION = """# Serving benchmark

Written by `{command}` on {date}; do not edit.

**Machine**: {machine}.

The server runs on one core and the load driver on another, on the loopback interface; rows say so where it is
otherwise. A load driver in Go sends requests serialised beforehand and checks every answer against
one worked out in numpy; a single wrong answer ends the run. Rows of a table are measured in turn, round after round;
figures are medians over the rounds, in brackets the lowest and highest. Latency is per call, of an open loop
from the time a call was due. Shares are of one core: what server and driver used, and what anything else used of the
server's core and of the whole machine. Windows in which others used more than {quiet:.0%} of the server's core are
measured once more; rows marked † had too few quiet ones to judge. {priority}

Cofactor runs with everything on that it has by default but the answer cache, which only the row of cache hits
has: string ids, exclusion of rated items, interceptors, metrics.
The bare echo is grpcio's synchronous server answering with a constant of the same size, requests not even parsed.
Peers run the same ONNX graph with the same ids and exclusions (benchmarks/serving/peers).
"""

PRIORITY_NOTE = """In this run
server and driver had priority (nice -15) over other work on the machine: while they wanted a core that got at most 4 %
of it; what it used is what they left idle. It still shared caches and memory with them."""


def measurement_line(name: str, found: Measurement) -> str:
    """One window, for the terminal."""
    note = "" if found.quiet else f"  others used {found.disturbance:.0%} of the server's core"
    return (
        f"{name:36} {found.rate:12,.0f}/s {found.cpu_us:9.1f} µs p50 {found.p50:.2f} p99 {found.p99:.2f} ms "
        f"driver {found.driver_cores:.0%}{note}"
    )


def bar_line(bar: Judgement) -> str:
    """A bar, for the terminal."""
    if bar.figure is None:
        return f"{bar.verdict:12} {bar.text}"
    by_cpu = "" if bar.by_cpu is None else f", by CPU time {bar.by_cpu:.2f}"
    return f"{bar.verdict:12} {bar.text}: {bar.figure:.2f} ({bar.low:.2f} to {bar.high:.2f}){by_cpu}"


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
        _bars(results),
    ]
    for scenario, rows in groupby(results, key=lambda name: name.partition("/")[0]):
        parts.append(_scenario(scenario, {row.partition("/")[2]: results[row] for row in rows}))
    parts += [_servers(servers), _referee(referee, results), PROFILE.read_text()]
    PAGE.write_text("\n".join(parts))
    PLOTS.mkdir(exist_ok=True)
    drawn = {row: [asdict(each) for each in measurements] for row, measurements in results.items()}
    subprocess.run(
        [tools.venv("plots") / "python", tools.HERE / "plots.py", PLOTS], input=json.dumps(drawn), text=True, check=True
    )


def _priority(results: Results) -> str:
    if not all(each.protected for measurements in results.values() for each in measurements):
        return ""
    return PRIORITY_NOTE


def _bars(results: Results) -> str:
    lines = ["## Bars", "", "| bar | figure | by CPU time | verdict |", "|---|---|---|---|"]
    for bar in BARS:
        found = bar.judge(results)
        figure = "" if found.figure is None else f"{found.figure:.2f} ({found.low:.2f} to {found.high:.2f})"
        by_cpu = "" if found.by_cpu is None else f"{found.by_cpu:.2f}"
        lines.append(f"| {found.text} | {figure} | {by_cpu} | {found.verdict} |")
    return "\n".join([*lines, "", "![Requests per second](unary.svg)", ""])


def _scenario(name: str, rows: Mapping[str, Sequence[Measurement]]) -> str:
    title = (SCENARIOS[name].__doc__ or "").strip()
    lines = [f"## {name}", "", title, ""]
    lines += [
        "| | answers/s | server CPU µs each | p50 | p90 | p99 | p99.9 ms | server | driver | others there | anywhere |",
        "|---" * 11 + "|",
    ]
    for row, measurements in rows.items():
        mark = "" if sum(each.quiet for each in measurements) >= 3 else " †"
        cells = [_rate(measurements), _number(_median(measurements, "cpu_us"))]
        cells += [f"{_median(measurements, quantile):.2f}" for quantile in ("p50", "p90", "p99", "p999")]
        cells += [
            f"{_median(measurements, share):.0%}" for share in ("server_cores", "driver_cores", "disturbance", "others")
        ]
        lines.append(f"| {row}{mark} | " + " | ".join(cells) + " |")
    plot = f"\n![Latency]({name}.svg)\n" if name == "concurrency" else ""
    return "\n".join(lines) + "\n" + plot


def _rate(measurements: Sequence[Measurement]) -> str:
    rates = [each.rate for each in measurements]
    return f"**{statistics.median(rates):,.0f}** ({min(rates):,.0f} to {max(rates):,.0f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def _median(measurements: Sequence[Measurement], field: str) -> float:
    return statistics.median(getattr(each, field) for each in measurements)


def _servers(servers: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        "## Cold start and memory",
        "",
        "From starting the process to its first answer; memory after the load.",
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
        "ghz, 64 calls in flight over 8 connections, against the same servers in the same run. It ",
    ]
    lines[-1] += "parses every answer and shares one core among its own threads, so it may reach less than our driver."
    lines += ["", "| server | ghz requests/s | ours | ghz p50 ms | p99 ms |", "|---|---|---|---|---|"]
    for server, row in (("echo", "unary/echo"), ("cofactor", "unary/Recommend")):
        if server in referee:
            found, ours = referee[server], _median(results[row], "rate")
            lines.append(f"| {server} | {found['rate']:,.0f} | {ours:,.0f} | {found['p50']:.2f} | {found['p99']:.2f} |")
    return "\n".join(lines) + "\n"
