"""Write the tables and the plot of docs/benchmarks/engine.md from what benchmarks/engine.py measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# (items, batch) -> engine -> milliseconds of every round.
Results = dict[tuple[int, str], dict[str, np.ndarray]]

READ = "read of the table"
OURS = (READ, "recommend", "recommend int8")


def summary(results: Results) -> list[str]:
    """Return the summary table: for every size one user, the best other engine, int8, and a batch of 32 users."""
    lines = [
        "| items | recommend, one user | ÷ read of the table | best other engine | int8 | fp32 ÷ int8 | "
        "32 users at once | throughput of 32 ÷ of 1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n_items in sorted({size for size, batch in results if batch == "1"}):
        one = {name: float(np.median(times)) for name, times in results[n_items, "1"].items()}
        others = {name: time for name, time in one.items() if name not in OURS}
        best = min(others, key=others.__getitem__, default=None)
        row = [f"{n_items:,}", f"**{one['recommend']:.3f} ms**", f"{one['recommend'] / one[READ]:.2f}"]
        row += [f"{best} {others[best]:.3f} ms" if best else ""]
        row += [f"{one['recommend int8']:.3f} ms", f"{one['recommend'] / one['recommend int8']:.2f}"]
        if (n_items, "32") in results:
            many = float(np.median(results[n_items, "32"]["recommend"]))
            row += [f"{many:.3f} ms", f"{32 * one['recommend'] / many:.1f}"]
        else:
            row += ["", ""]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def table(results: Results) -> list[str]:
    """Return the table of every figure."""
    lines = ["| items | batch | | min | median | quartiles | ÷ read |", "|---|---|---|---|---|---|---|"]
    for (n_items, batch), engines in results.items():
        read = np.median(engines[READ]) if READ in engines else None
        for name, times in engines.items():
            low, median, high = np.percentile(times, [25, 50, 75])
            ratio = f"{median / read:.2f}" if read else ""
            figures = f"{times.min():.3f} | {median:.3f} | {low:.3f} to {high:.3f} | {ratio}"
            lines.append(f"| {n_items:,} | {batch} | {name} | {figures} |")
    return lines


def plot(results: Results, path: Path) -> None:
    """Draw the median time for one user's ten best items by the size of the catalogue."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed: no plot is drawn")
        return
    sizes = sorted({n_items for n_items, batch in results if batch == "1"})
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name in results[sizes[0], "1"]:
        measured = [size for size in sizes if name in results[size, "1"]]
        medians = [float(np.median(results[size, "1"][name])) for size in measured]
        style = "--" if name == READ else "-"
        width = 2.5 if name in OURS[1:] else 1.2
        axes.plot(measured, medians, style, marker="o", label=name, linewidth=width)
    axes.set(xscale="log", yscale="log", xlabel="items (64 factors)", ylabel="ms, one user, one thread, ten best")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, format="svg")
