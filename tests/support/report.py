"""Write the table of docs/reliability.md from the figures of the fault tests.

FAULTS=full FAULTS_FIGURES=figures.jsonl make test-faults
python tests/support/report.py figures.jsonl
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: written by tests/support/report.py -->", "<!-- end of figures -->"
LEFT_OUT = {"test", "seed", "full"}


def table(lines: list[str]) -> str:
    """Return a table with one row per test, of its last run."""
    found = {figures["test"]: figures for figures in map(json.loads, lines)}
    rows = ["| test | form | seed | figures |", "|---|---|---|---|"]
    for name in sorted(found, key=lambda name: (int(re.findall(r"\d+", name)[0]), name)):
        figures = found[name]
        shown = "; ".join(f"{key} {_shown(value)}" for key, value in figures.items() if key not in LEFT_OUT)
        form = "full" if figures["full"] else "short"
        rows.append(f"| {name} | {form} | {figures['seed']} | {shown.replace('_', ' ')} |")
    return "\n".join(rows)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(count)}" for key, count in sorted(value.items()))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def main(path: str) -> None:
    """Replace the table between the marks."""
    text = DOCUMENT.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    lines = Path(path).read_text("utf-8").splitlines()
    DOCUMENT.write_text(f"{head}{BEGIN}\n{table(lines)}\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
