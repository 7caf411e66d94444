"""The bars that Cofactor's server is held to, each computed from rows of the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.serving.driver import QUIET, Measurement
from benchmarks.serving.machine import CORES
from benchmarks.serving.scenarios import Results

ROUNDS_TO_JUDGE = 3


@dataclass(frozen=True)
class Judgement:
    """What became of a bar.

    Attributes:
        figure: the median over the rounds; None where a row was not measured.
        low: of the rounds.
        high: of the rounds.
        verdict: "met", "missed", "not judged" (others used the machine, or too few rounds) or "not measured".
        by_cpu: a ratio of rates again, from CPU time per answer: what others use of the machine hardly moves it. None
            where the figure is no such ratio.
    """

    text: str
    figure: float | None
    low: float
    high: float
    verdict: str
    by_cpu: float | None = None


@dataclass(frozen=True)
class Bar:
    """A figure worked out of one round of each of some rows, and what it must reach."""

    text: str
    rows: tuple[str, ...]
    figure: Callable[..., float]
    limit: float
    at_most: bool = False

    def judge(self, results: Results) -> Judgement:
        """Rounds are paired: the figure is of rows measured after one another. Noisy rounds count for nothing."""
        if any(row not in results for row in self.rows):
            return Judgement(self.text, None, 0, 0, "not measured")
        rounds: list[Sequence[Measurement]] = list(zip(*(results[row] for row in self.rows), strict=False))
        quiet = [each for each in rounds if all(self._may_judge(measurement) for measurement in each)]
        figures = [self.figure(*each) for each in quiet or rounds]
        figure = statistics.median(figures)
        met = figure <= self.limit if self.at_most else figure >= self.limit
        verdict = ("met" if met else "missed") if len(quiet) >= ROUNDS_TO_JUDGE else "not judged"
        by_cpu = statistics.median(cpu_ratio(*each) for each in rounds) if self.figure is rate_ratio else None
        return Judgement(self.text, figure, min(figures), max(figures), verdict, by_cpu)

    def _may_judge(self, measurement: Measurement) -> bool:
        """Priority protects a rate. It does not protect the slowest calls: a core is not given up at once."""
        return measurement.others <= QUIET if self.at_most else measurement.quiet


def rate_ratio(first: Measurement, second: Measurement) -> float:
    """Requests per second of the first, in those of the second."""
    return first.rate / second.rate


def cpu_ratio(first: Measurement, second: Measurement) -> float:
    """The same where each saturates its core, by the CPU time of an answer."""
    return second.cpu_us / first.cpu_us


def worker_ratio(two: Measurement, one: Measurement) -> float:
    """What two workers answer with two cores, in what one answers with one.

    The driver shares the two cores with the workers. Its part is taken out as if the workers had had its CPU time too:
    they would have answered cores / (cores - driver's cores) times as much.
    """
    n_cores = len(CORES)
    return two.rate * n_cores / (n_cores - two.driver_cores) / one.rate


BARS = (
    Bar("unary Recommend ≥ 0.85 x bare echo, no cache", ("unary/Recommend", "unary/echo"), rate_ratio, 0.85),
    Bar(
        "unary Recommend ≥ 0.95 x bare echo, cache hits",
        ("unary/Recommend, cache hits", "unary/echo"),
        rate_ratio,
        0.95,
    ),
    Bar("unary Recommend ≥ 4 x MLServer gRPC", ("unary/Recommend", "unary/MLServer gRPC"), rate_ratio, 4.0),
    Bar("unary Recommend ≥ 1.0 x mosec unbatched", ("unary/Recommend", "unary/mosec HTTP"), rate_ratio, 1.0),
    Bar("StreamRecommend ≥ 2.5 x unary", ("bulk/StreamRecommend, 8 x 32", "bulk/unary, 64 in flight"), rate_ratio, 2.5),
    Bar(
        "StreamRecommend ≥ 0.9 x mosec batched",
        ("bulk/StreamRecommend, 8 x 32", "bulk/mosec, batches of 64"),
        rate_ratio,
        0.9,
    ),
    Bar(
        "BatchRecommend of 64 ≥ 3 x mosec batched, per user",
        ("bulk/BatchRecommend of 64", "bulk/mosec, batches of 64"),
        rate_ratio,
        3.0,
    ),
    Bar(
        "p99 at half of saturation ≤ 5 ms",
        ("open-loop/Recommend at half of saturation",),
        lambda row: row.p99,
        5.0,
        at_most=True,
    ),
    Bar("Predict ≥ 1 M pairs/s per core", ("bulk/Predict of 10,000 pairs",), lambda row: row.rate / 1e6, 1.0),
    Bar(
        "100k items, 16 in flight: batched ≥ 3 x direct",
        ("100k/batched, 16 in flight", "100k/direct, 16 in flight"),
        rate_ratio,
        3.0,
    ),
    Bar(
        "100k items, 1 in flight: batched ≥ 0.97 x direct",
        ("100k/batched, 1 in flight", "100k/direct, 1 in flight"),
        rate_ratio,
        0.97,
    ),
    Bar(
        "two workers ≥ 1.7 x one, the driver's part taken out",
        ("workers/two workers on two cores", "workers/one worker on one core"),
        worker_ratio,
        1.7,
    ),
)
