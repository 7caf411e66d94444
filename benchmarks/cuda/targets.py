"""Compare the figures of benchmarks/cuda_machine.py with the targets."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.cuda.run import Run, row, table_head

# Target, the figure, what it is divided by (empty: nothing), the sign, the limit.
RATIOS = (
    ("Recommend, 1 M items, 1 user, over the read of the table", "served 1000000 1", "read 1000000", "<=", 2.5),
    ("Recommend, 1 M items, 1 user, over torch", "served 1000000 1", "torch 1000000 1", "<=", 1.0),
    ("Recommend, 1 M items, 128 users, over torch", "served 1000000 128", "torch 1000000 128", "<=", 0.6),
    ("Recommend, 100,000 items, 32 users, over torch", "served 100000 32", "torch 100000 32", "<=", 1.2),
    ("server, 1,682 items, device over the CPU", "server device 1682", "server all cores 1682", ">=", 1.0),
    ("server, 1 M items, device over one CPU core", "server device 1000000", "server one core 1000000", ">=", 10.0),
    ("device memory beside the tables, 1 M items, MiB", "memory beside the tables 1000000", "", "<=", 300.0),
)
LARGEST_DIFFERENCE = 1e-5


def targets(run: Run) -> Iterator[str]:
    """Yield a table of the targets: met, missed, or not measured."""
    yield from table_head("target", "limit", "measured", "")
    for name, figure, divisor, sign, limit in RATIOS:
        value = _ratio(run, figure, divisor)
        if value is None:
            yield row(name, f"{sign} {limit:g}", "", "not measured")
            continue
        is_met = value <= limit if sign == "<=" else value >= limit
        yield row(name, f"{sign} {limit:g}", f"{value:.2f}", "met" if is_met else "**missed**")
    differences = [value for name, value in run.figures.items() if name.startswith(("parity ", "difference "))]
    name = "largest difference from the CPU and from torch"
    if differences:
        worst = max(differences)
        outcome = "met" if worst <= LARGEST_DIFFERENCE else "**missed**"
        yield row(name, f"<= {LARGEST_DIFFERENCE:g}", f"{worst:.2g}", outcome)
    else:
        yield row(name, f"<= {LARGEST_DIFFERENCE:g}", "", "not measured")


def _ratio(run: Run, figure: str, divisor: str) -> float | None:
    if figure not in run.figures or (divisor and divisor not in run.figures):
        return None
    return run.figures[figure] / (run.figures[divisor] if divisor else 1)
