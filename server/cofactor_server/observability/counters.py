"""Counts and durations of requests, kept so that counting costs about a microsecond; exposition.py publishes them.

prometheus-client's own histograms take 1.5 µs per observation, and 3.5 µs shared between processes, several times per
request. Here every thread adds to lists of its own, without a lock, and a scrape adds the threads up.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Upper bounds of the buckets, in seconds and in calls.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
STAGES = ("queue", "compute", "total")
OVERLAPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHADOW_OUTCOMES = ("compared", "failed", "dropped")
_WIDTH = len(SECONDS) + 2  # the buckets, the one beyond, the sum
_BATCH_WIDTH = len(SIZES) + 2
_SHADOW_WIDTH = len(SHADOW_OUTCOMES) + _WIDTH + len(OVERLAPS) + 2


@dataclass
class Totals:
    """What was counted, added up.

    requests: (method, gRPC code) -> for each of STAGES: counts by SECONDS, count beyond, sum of seconds.
    batches: counts by SIZES, count beyond, sum. counters: name -> label value -> count. shadows: (model, version) ->
    counts of SHADOW_OUTCOMES; counts by SECONDS, count beyond, sum; counts by OVERLAPS, count beyond, sum.
    """

    requests: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    batches: list[float] = field(default_factory=lambda: [0.0] * _BATCH_WIDTH)
    counters: dict[str, dict[str, float]] = field(default_factory=dict)
    shadows: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, other: Totals) -> None:
        """Add another process's or thread's."""
        for key, cells in other.requests.items():
            self.requests[key] = _sum(self.requests.get(key), cells)
        for key, cells in other.shadows.items():
            self.shadows[key] = _sum(self.shadows.get(key), cells)
        self.batches = _sum(self.batches, other.batches)
        for name, values in other.counters.items():
            mine = self.counters.setdefault(name, {})
            for label, value in values.items():
                mine[label] = mine.get(label, 0.0) + value

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        requests = [[*key, cells] for key, cells in self.requests.items()]
        shadows = [[*key, cells] for key, cells in self.shadows.items()]
        return {"requests": requests, "batches": self.batches, "counters": self.counters, "shadows": shadows}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Totals:
        """From what to_json gave."""
        requests = {(method, code): cells for method, code, cells in content["requests"]}
        shadows = {(model, version): cells for model, version, cells in content["shadows"]}
        return cls(requests, content["batches"], content["counters"], shadows)


def _sum(left: list[float] | None, right: list[float]) -> list[float]:
    return list(right) if left is None else [a + b for a, b in zip(left, right, strict=True)]


class _Cells(threading.local):
    """One thread's share."""

    def __init__(self, register: Callable[[Totals], None]) -> None:
        self.totals = Totals()
        register(self.totals)


class Metrics:
    """What one process counts. Threads may come and go; their counts stay."""

    def __init__(self) -> None:
        self._all: list[Totals] = []
        self._cells = _Cells(self._all.append)

    def record(self, method: str, code: str, queue_s: float, compute_s: float, total_s: float) -> None:
        """Count an answered call."""
        cells = self._cells
        key = (method, code)
        row = cells.totals.requests.get(key)
        if row is None:
            row = cells.totals.requests[key] = [0.0] * (_WIDTH * len(STAGES))
        row[bisect_left(SECONDS, queue_s)] += 1
        row[_WIDTH - 1] += queue_s
        row[_WIDTH + bisect_left(SECONDS, compute_s)] += 1
        row[2 * _WIDTH - 1] += compute_s
        row[2 * _WIDTH + bisect_left(SECONDS, total_s)] += 1
        row[3 * _WIDTH - 1] += total_s

    def record_batch(self, size: int) -> None:
        """Count a run of the engine for `size` calls."""
        batches = self._cells.totals.batches
        batches[bisect_left(SIZES, size)] += 1
        batches[-1] += size

    def count(self, name: str, label: str = "") -> None:
        """Add one to a counter of exposition.COUNTERS."""
        values = self._cells.totals.counters.setdefault(name, {})
        values[label] = values.get(label, 0.0) + 1

    def count_shadow(self, model: str, version: str, outcome: str) -> None:
        """Count a request for a shadow: one of SHADOW_OUTCOMES."""
        self._shadow(model, version)[SHADOW_OUTCOMES.index(outcome)] += 1

    def record_shadow(self, model: str, version: str, seconds: float, overlap: float) -> None:
        """Count a request that a shadow ran, how long it took, and the share of the answer that it gave too."""
        row, n_outcomes = self._shadow(model, version), len(SHADOW_OUTCOMES)
        row[SHADOW_OUTCOMES.index("compared")] += 1
        row[n_outcomes + bisect_left(SECONDS, seconds)] += 1
        row[n_outcomes + _WIDTH - 1] += seconds
        row[n_outcomes + _WIDTH + bisect_left(OVERLAPS, overlap)] += 1
        row[-1] += overlap

    def _shadow(self, model: str, version: str) -> list[float]:
        return self._cells.totals.shadows.setdefault((model, version), [0.0] * _SHADOW_WIDTH)

    def totals(self) -> Totals:
        """Add the threads up."""
        total = Totals()
        for each in list(self._all):
            # A thread may add a key meanwhile: copy before walking, at every depth.
            counters = {k: dict(v) for k, v in dict(each.counters).items()}
            total.add(Totals(dict(each.requests), list(each.batches), counters, dict(each.shadows)))
        return total


Gauges = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True)
class ProcessReport:
    """What one process says about itself at a moment: what it counted, and gauge -> [(labels, value)]."""

    totals: Totals
    gauges: Gauges

    def write(self, path: Path) -> None:
        """Leave the report for the process that answers scrapes."""
        content = json.dumps({"totals": self.totals.to_json(), "gauges": self.gauges})
        temporary = path.with_suffix(".new")
        temporary.write_text(content, "utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> ProcessReport:
        """Read what `write` left."""
        content = json.loads(path.read_text("utf-8"))
        gauges = {name: [(labels, value) for labels, value in rows] for name, rows in content["gauges"].items()}
        return cls(Totals.from_json(content["totals"]), gauges)
