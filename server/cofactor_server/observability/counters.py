"""Count requests and add up their durations; prometheus.py exposes the totals.

prometheus-client's own histograms are not used, because one observation takes them 1.5 µs, and 3.5 µs in their
multiprocess mode, several times per request. Here every thread adds to its own lists without a lock, at about 1 µs per
request, and a scrape adds up the threads.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Upper bounds of the histogram buckets: seconds, calls per batch, overlap from 0 to 1.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
OVERLAPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STAGES = ("queue", "compute", "total")
SHADOW_OUTCOMES = ("compared", "failed", "dropped")
# A histogram is a list of cells: a count for each bucket, a count of larger values, the sum of all values.
SECONDS_CELLS = len(SECONDS) + 2
_SIZES_CELLS = len(SIZES) + 2
_OVERLAPS_CELLS = len(OVERLAPS) + 2


@dataclass
class MetricTotals:
    """Totals of everything that was counted.

    Attributes:
        requests: (method, gRPC code) -> the cells of three histograms of SECONDS, one for each of STAGES.
        batches: the cells of a histogram of SIZES.
        counters: name of the counter -> value of its label -> count.
        shadows: (model, version) -> a count for each of SHADOW_OUTCOMES, then the cells of a histogram of SECONDS, then
            those of one of OVERLAPS.
        canaries: (model, version, role, gRPC code) -> the cells of a histogram of SECONDS.
    """

    requests: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    batches: list[float] = field(default_factory=lambda: [0.0] * _SIZES_CELLS)
    counters: dict[str, dict[str, float]] = field(default_factory=dict)
    shadows: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    canaries: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)

    def add(self, other: MetricTotals) -> None:
        """Add the totals of another thread or process."""
        for key, cells in other.requests.items():
            self.requests[key] = _sum(self.requests.get(key), cells)
        for key, cells in other.shadows.items():
            self.shadows[key] = _sum(self.shadows.get(key), cells)
        for share, cells in other.canaries.items():
            self.canaries[share] = _sum(self.canaries.get(share), cells)
        self.batches = _sum(self.batches, other.batches)
        for name, counts in other.counters.items():
            own = self.counters.setdefault(name, {})
            for label, count in counts.items():
                own[label] = own.get(label, 0.0) + count

    def to_json(self) -> dict[str, Any]:
        """Return the totals as values that JSON can express."""
        requests = [[*key, cells] for key, cells in self.requests.items()]
        shadows = [[*key, cells] for key, cells in self.shadows.items()]
        canaries = [[*key, cells] for key, cells in self.canaries.items()]
        return {
            "requests": requests,
            "batches": self.batches,
            "counters": self.counters,
            "shadows": shadows,
            "canaries": canaries,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> MetricTotals:
        """Return the totals that to_json returned as `content`."""
        requests = {(method, code): cells for method, code, cells in content["requests"]}
        shadows = {(model, version): cells for model, version, cells in content["shadows"]}
        canaries = {(model, version, role, code): cells for model, version, role, code, cells in content["canaries"]}
        return cls(requests, content["batches"], content["counters"], shadows, canaries)


def _sum(left: list[float] | None, right: list[float]) -> list[float]:
    return list(right) if left is None else [a + b for a, b in zip(left, right, strict=True)]


class _ThreadTotals(threading.local):
    """Totals of one thread, created when the thread first counts something."""

    def __init__(self, register: Callable[[MetricTotals], None]) -> None:
        self.totals = MetricTotals()
        register(self.totals)


class Metrics:
    """Counts what happens in this process. The counts of a thread stay when it ends."""

    def __init__(self) -> None:
        self._all: list[MetricTotals] = []
        self._thread = _ThreadTotals(self._all.append)

    def record(self, method: str, code: str, queue_s: float, compute_s: float, total_s: float) -> None:
        """Count a finished call and its durations."""
        requests = self._thread.totals.requests
        key = (method, code)
        cells = requests.get(key)
        if cells is None:
            cells = requests[key] = [0.0] * (SECONDS_CELLS * len(STAGES))
        cells[bisect_left(SECONDS, queue_s)] += 1
        cells[SECONDS_CELLS - 1] += queue_s
        cells[SECONDS_CELLS + bisect_left(SECONDS, compute_s)] += 1
        cells[2 * SECONDS_CELLS - 1] += compute_s
        cells[2 * SECONDS_CELLS + bisect_left(SECONDS, total_s)] += 1
        cells[3 * SECONDS_CELLS - 1] += total_s

    def record_batch(self, size: int) -> None:
        """Count one run of the engine for `size` calls."""
        cells = self._thread.totals.batches
        cells[bisect_left(SIZES, size)] += 1
        cells[-1] += size

    def count(self, name: str, label: str = "", amount: float = 1.0) -> None:
        """Add to a counter, by its name and the value of its label (see prometheus.COUNTERS)."""
        counts = self._thread.totals.counters.setdefault(name, {})
        counts[label] = counts.get(label, 0.0) + amount

    def record_canary(self, share: tuple[str, str, str], code: str, seconds: float) -> None:
        """Count a request whose version a canary share decided.

        share: model, version, and role of the version: "canary" or "current". seconds: how long the answer took.
        """
        cells = self._thread.totals.canaries.setdefault((*share, code), [0.0] * SECONDS_CELLS)
        cells[bisect_left(SECONDS, seconds)] += 1
        cells[-1] += seconds

    def count_shadow(self, model: str, version: str, outcome: str) -> None:
        """Count a request for a shadow version by its outcome, one of SHADOW_OUTCOMES."""
        self._shadow_cells(model, version)[SHADOW_OUTCOMES.index(outcome)] += 1

    def record_shadow(self, model: str, version: str, seconds: float, overlap: float) -> None:
        """Count a request that a shadow version ran.

        seconds: how long it took. overlap: share of the served items that the shadow version recommends too.
        """
        cells, n_outcomes = self._shadow_cells(model, version), len(SHADOW_OUTCOMES)
        cells[SHADOW_OUTCOMES.index("compared")] += 1
        cells[n_outcomes + bisect_left(SECONDS, seconds)] += 1
        cells[n_outcomes + SECONDS_CELLS - 1] += seconds
        cells[n_outcomes + SECONDS_CELLS + bisect_left(OVERLAPS, overlap)] += 1
        cells[-1] += overlap

    def _shadow_cells(self, model: str, version: str) -> list[float]:
        n_cells = len(SHADOW_OUTCOMES) + SECONDS_CELLS + _OVERLAPS_CELLS
        return self._thread.totals.shadows.setdefault((model, version), [0.0] * n_cells)

    def totals(self) -> MetricTotals:
        """Add up the threads."""
        total = MetricTotals()
        for thread in list(self._all):
            # The thread may add a key at any moment, so copy every dictionary before iterating over it.
            counters = {name: dict(counts) for name, counts in dict(thread.counters).items()}
            requests, batches = dict(thread.requests), list(thread.batches)
            total.add(MetricTotals(requests, batches, counters, dict(thread.shadows), dict(thread.canaries)))
        return total
