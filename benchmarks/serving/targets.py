"""Compute from the rows of one run whether Cofactor's server meets its targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import starmap

from benchmarks.serving.driver import QUIET, Measurement
from benchmarks.serving.machine import CORES
from benchmarks.serving.scenarios import Results

ROUNDS_TO_JUDGE = 3


@dataclass(frozen=True)
class Judgement:
    """The result of comparing a run with a target.

    Attributes:
        figure: median over the rounds; None if a row was not measured.
        low: lowest figure of the rounds.
        high: highest figure of the rounds.
        verdict: "met", "missed", "not judged" (other programs used the machine, or too few rounds) or "not measured".
        by_cpu: the same ratio of rates, computed from CPU time per response, which other load hardly changes. None if
            the figure is no ratio of rates.
    """

    text: str
    figure: float | None
    low: float
    high: float
    verdict: str
    by_cpu: float | None = None


@dataclass(frozen=True)
class Target:
    """A figure, computed from one round of each of some rows, and the limit that it has to reach."""

    text: str
    rows: tuple[str, ...]
    figure: Callable[..., float]
    limit: float
    at_most: bool = False

    def judge(self, results: Results) -> Judgement:
        """Compare a run with the target.

        The rounds of the rows are paired, so a figure compares rows that were measured one after another. Rounds that
        other programs disturbed do not count.
        """
        if any(row not in results for row in self.rows):
            return Judgement(self.text, None, 0, 0, "not measured")
        rounds: list[Sequence[Measurement]] = list(zip(*(results[row] for row in self.rows), strict=False))
        quiet = [measurements for measurements in rounds if all(map(self._may_judge, measurements))]
        figures = [self.figure(*measurements) for measurements in quiet or rounds]
        figure = statistics.median(figures)
        met = figure <= self.limit if self.at_most else figure >= self.limit
        verdict = ("met" if met else "missed") if len(quiet) >= ROUNDS_TO_JUDGE else "not judged"
        by_cpu = statistics.median(starmap(cpu_ratio, rounds)) if self.figure is rate_ratio else None
        return Judgement(self.text, figure, min(figures), max(figures), verdict, by_cpu)

    def _may_judge(self, measurement: Measurement) -> bool:
        """Return True if a window may be judged.

        Priority protects a rate, but not the slowest calls: other programs do not give up a core at once.
        """
        return measurement.others <= QUIET if self.at_most else measurement.quiet


def rate_ratio(first: Measurement, second: Measurement) -> float:
    """Return the rate of the first relative to the second."""
    return first.rate / second.rate


def cpu_ratio(first: Measurement, second: Measurement) -> float:
    """Return the same ratio from the CPU time per response, for servers that saturate their core."""
    return second.cpu_us / first.cpu_us


def worker_ratio(two: Measurement, one: Measurement) -> float:
    """Return the rate of two workers on two cores relative to one worker on one core.

    The driver shares the two cores with the workers. The result is scaled to what they would reach with its CPU time
    too: cores / (cores - driver's cores) times as much.
    """
    n_cores = len(CORES)
    return two.rate * n_cores / (n_cores - two.driver_cores) / one.rate


TARGETS = (
    Target("unary Recommend ≥ 0.85 x bare echo, no cache", ("unary/Recommend", "unary/echo"), rate_ratio, 0.85),
    Target(
        "unary Recommend ≥ 0.95 x bare echo, cache hits",
        ("unary/Recommend, cache hits", "unary/echo"),
        rate_ratio,
        0.95,
    ),
    Target("unary Recommend ≥ 4 x MLServer gRPC", ("unary/Recommend", "unary/MLServer gRPC"), rate_ratio, 4.0),
    Target("unary Recommend ≥ 1.0 x mosec unbatched", ("unary/Recommend", "unary/mosec HTTP"), rate_ratio, 1.0),
    Target(
        "a version that predicts and ranks ≥ 0.9 x one that predicts, unary Recommend",
        ("two-parts/Recommend, 64 in flight, predicts and ranks", "two-parts/Recommend, 64 in flight, predicts"),
        rate_ratio,
        0.9,
    ),
    Target(
        "the same, BatchRecommend of 64",
        ("two-parts/BatchRecommend of 64, predicts and ranks", "two-parts/BatchRecommend of 64, predicts"),
        rate_ratio,
        0.9,
    ),
    Target(
        "StreamRecommend ≥ 2.5 x unary", ("bulk/StreamRecommend, 8 x 32", "bulk/unary, 64 in flight"), rate_ratio, 2.5
    ),
    Target(
        "StreamRecommend ≥ 0.9 x mosec batched",
        ("bulk/StreamRecommend, 8 x 32", "bulk/mosec, batches of 64"),
        rate_ratio,
        0.9,
    ),
    Target(
        "BatchRecommend of 64 ≥ 3 x mosec batched, per user",
        ("bulk/BatchRecommend of 64", "bulk/mosec, batches of 64"),
        rate_ratio,
        3.0,
    ),
    Target(
        "p99 at half of saturation ≤ 5 ms",
        ("open-loop/Recommend at half of saturation",),
        lambda row: row.p99,
        5.0,
        at_most=True,
    ),
    Target("Predict ≥ 1 M pairs/s per core", ("bulk/Predict of 10,000 pairs",), lambda row: row.rate / 1e6, 1.0),
    Target(
        "100k items, 16 in flight: batched ≥ 3 x direct",
        ("100k/batched, 16 in flight", "100k/direct, 16 in flight"),
        rate_ratio,
        3.0,
    ),
    Target(
        "100k items, 1 in flight: batched ≥ 0.97 x direct",
        ("100k/batched, 1 in flight", "100k/direct, 1 in flight"),
        rate_ratio,
        0.97,
    ),
    Target(
        "two workers ≥ 1.7 x one, the driver's part taken out",
        ("workers/two workers on two cores", "workers/one worker on one core"),
        worker_ratio,
        1.7,
    ),
)
