"""Compare the simulation with real servers: `python -m benchmarks.scale_out.check`.

One server with one call in flight gives the times of a service and the client's part. From these alone the
simulation predicts one, two and three servers with more calls in flight. All windows are repeated in turn, so that a
disturbance meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import psutil

from benchmarks.scale_out import measure
from benchmarks.scale_out.measure import Window, median
from benchmarks.scale_out.simulation import QUANTUM, CallCost, Outcome, closed_loop
from benchmarks.serving.machine import CORES, describe, prioritise

CASES = ((1, 2), (2, 4), (3, 6))
"""Servers, and calls in flight."""
TARGET = 0.15
RR_QUANTUM = 0.1
"""Linux' turns of processes with real-time priority, seconds."""


def main() -> int:
    """Measure, predict, print and write a table; return 1 if a throughput is off by more than TARGET."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a window")
    parser.add_argument("--output", type=Path, help="JSON file of the table")
    options = parser.parse_args()
    prioritise(psutil.Process())
    alone, measured = collect(options.repeats, options.seconds)
    cost = cost_of(alone)
    quantum = RR_QUANTUM if has_real_time_priority() else QUANTUM
    rows = [
        row(case, measured[case], closed_loop(*case, cost, len(CORES), 20, seed=1, quantum=quantum)) for case in CASES
    ]
    load = psutil.getloadavg()[0]
    result = {"machine": describe(), "load": round(load, 1), "real_time": has_real_time_priority(), "rows": rows}
    result["client_ms"] = cost.client * 1e3
    result["server_cpu_ms"] = 1e3 * median([window.server for window in alone])
    result["service_ms"] = {
        name: 1e3 * Outcome(0, list(cost.services), []).percentile(at) for name, at in PERCENTILES.items()
    }
    print(json.dumps(result, indent=1))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(any(abs(entry["rate_ratio"] - 1) > TARGET for entry in rows))


PERCENTILES = {"p50": 0.5, "p99": 0.99}


def collect(repeats: int, seconds: float) -> tuple[list[Window], dict[tuple[int, int], list[Window]]]:
    """Return the windows of one server with one call in flight, and those of every case."""
    alone, measured = [], defaultdict(list)
    with measure.servers(max(count for count, _ in CASES)) as running:
        for repeat in range(repeats):
            for number, case in enumerate(CASES):
                if number % 2 == 0:
                    alone.append(measure.window(running[:1], 1, seconds, seed=repeat))
                measured[case].append(measure.window(running[: case[0]], case[1], seconds, seed=repeat))
                time.sleep(seconds / 2)  # for other programs
    return alone, measured


def has_real_time_priority() -> bool:
    """Return True if this run was started with `chrt --rr`; then other programs get 5 % of the processors at most."""
    return os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO)


def cost_of(alone: list[Window]) -> CallCost:
    """Split the time of calls to one server, one at a time, into the client's part and the server's.

    Waking up and the share of other programs are in the server's part: on a busy machine a service takes longer.
    """
    client = median([window.client for window in alone])
    return CallCost([seconds - client for window in alone for seconds in window.seconds if seconds > client], client)


def row(case: tuple[int, int], windows: list[Window], predicted: Outcome) -> dict[str, float]:
    """Return measured and predicted figures of a case, times in milliseconds."""
    rate = median([window.rate for window in windows])
    found = {"servers": case[0], "in_flight": case[1], "rate": rate, "predicted_rate": predicted.rate}
    found["rate_ratio"] = predicted.rate / rate
    for name, share in PERCENTILES.items():
        real = median([Outcome(0, window.seconds, []).percentile(share) for window in windows])
        found |= {f"{name}_ms": real * 1e3, f"predicted_{name}_ms": predicted.percentile(share) * 1e3}
        found[f"{name}_ratio"] = predicted.percentile(share) / real
    return {key: round(value, 3) for key, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
