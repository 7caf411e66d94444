"""Write the page of the warm starts."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import torch


def document(parts: dict[str, list[str]], seeds: Sequence[int], few_seeds: Sequence[int], runs: int) -> str:
    """Return the page; ``few_seeds`` are those of the splits with ten warm starts in a row."""
    splits, few = ", ".join(map(str, seeds)), ", ".join(map(str, few_seeds))
    large = " --large" if "large" in parts else ""
    command = f"python -m benchmarks.refresh --seeds {' '.join(map(str, seeds))} --runs {runs}{large}"
    return f"""# Warm start against full training

What `cofactor-train --warm-start` ([refresh.md](../refresh.md)) costs and misses after 1 % of new ratings. MovieLens
100k by title, default recipe. A random 20 % of the ratings are held out and judge every model; of the others, 1 % are
new to the first version. Splits {splits}.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

## Error
Differences to full training on the same split, as means with 95 % intervals over the splits; negative is a lower
error. "First version" is the version that has not learnt the new ratings, with new users folded in, as a server would.
"Another full training" differs by its seed only: what is smaller than that cannot be told from chance.

| new ratings | model | MSE | highest | NDCG@10 |
|---|---|---|---|---|
{_rows(parts["errors"])}

## Time
Seconds of processor time to train, on one thread: median, lowest to highest, and the median share of full training on
the same split.

| | seconds | range | share |
|---|---|---|---|
{_rows(parts["time"])}

Targets: at most 10 % of the time, and an error at most 0.002 higher on average.

{_rows(parts["verdict"])}

## Ten warm starts in a row
The latest tenth of the ratings, in ten warm starts of 1 % each, against one full training: differences on
split {few}.

| embedding space | MSE | NDCG@10 |
|---|---|---|
{_rows(parts["row"])}

## Whole commands
Seconds of processor time from the command line to the exported version, medians of {runs} rounds, in turn. A full
command trains twice and measures; a warm one learns twice and measures. Both import torch, read the table and export,
which no warm start can save. That is why the share is higher than in training, most of all on a small table.

| table | in full | `--warm-start` | share | at most 10 % |
|---|---|---|---|---|
{_rows(parts["commands"] + parts.get("large", []))}
"""


def _rows(lines: Sequence[str]) -> str:
    return "\n".join(lines)
