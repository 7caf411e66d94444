"""Draw a run as SVG files: measurements as JSON from standard input, the folder as argument."""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "cofactor"
from matplotlib import pyplot as plt  # noqa: E402 - the back end is chosen first

Results = dict[str, list[dict[str, float]]]
OURS, THEIRS = "#1f6f8b", "#b0b7bf"


def median(rounds: list[dict[str, float]], field: str) -> float:
    """Return the median of a field over the rounds."""
    return statistics.median(measurement[field] for measurement in rounds)


def unary(results: Results, folder: Path) -> None:
    """Draw the requests per second of every server as bars, with the spread of the rounds."""
    rows = {name.partition("/")[2]: rounds for name, rounds in results.items() if name.startswith("unary/")}
    names = sorted(rows, key=lambda name: median(rows[name], "rate"))
    rates = [median(rows[name], "rate") for name in names]
    low = [rate - min(one["rate"] for one in rows[name]) for rate, name in zip(rates, names, strict=True)]
    high = [max(one["rate"] for one in rows[name]) - rate for rate, name in zip(rates, names, strict=True)]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1), layout="constrained")
    bars = axes.barh(names, rates, xerr=[low, high], color=[OURS if "Recommend" in name else THEIRS for name in names])
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=6)
    axes.set_xlabel("requests per second on one core, 64 in flight")
    axes.set_xlim(0, 1.15 * max(rates))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "unary.svg", metadata={"Date": None})


def concurrency(results: Results, folder: Path) -> None:
    """Draw the rate and the 99th percentile by calls in flight."""
    figure, (rates, tails) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for name, colour in (("echo", THEIRS), ("Recommend", OURS)):
        found = re.compile(rf"concurrency/{name}, (\d+) in flight")
        points = [(int(match[1]), rounds) for row, rounds in results.items() if (match := found.fullmatch(row))]
        in_flight = [number for number, _ in points]
        rates.plot(in_flight, [median(rounds, "rate") for _, rounds in points], "o-", color=colour, label=name)
        tails.plot(in_flight, [median(rounds, "p99") for _, rounds in points], "o-", color=colour, label=name)
    for axes, text in ((rates, "requests per second"), (tails, "p99, ms")):
        axes.set(xscale="log", xlabel="calls in flight", ylabel=text, ylim=(0, None))
        axes.set_xticks([1, 16, 64, 256], ["1", "16", "64", "256"])
        axes.spines[["top", "right"]].set_visible(False)
    rates.legend(frameon=False)
    figure.savefig(folder / "concurrency.svg", metadata={"Date": None})


if __name__ == "__main__":
    measured = json.load(sys.stdin)
    unary(measured, Path(sys.argv[1]))
    concurrency(measured, Path(sys.argv[1]))
