"""Measure what the order of a new user's events is worth for what comes next.

    python -m benchmarks.events.sessions [--seeds 1 2 3] [--output docs/benchmarks/sessions.md]

The data is MovieLens 100k in the folder that COFACTOR_ML100K names; ratings from 4 on are events. Exits with 1 if a
target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from benchmarks.datasets import ml_100k_folder
from benchmarks.events.recipe import ours
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.events.from_ratings import events_from_ratings
from cofactor_trainer.data.events.splits import split_events
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import Split, last_mask
from cofactor_trainer.evaluation.baselines import fit_popularity, fit_recent_popularity
from cofactor_trainer.evaluation.evaluate import judge_recommendations
from cofactor_trainer.evaluation.metrics import ndcg_by_user
from cofactor_trainer.export.fitted.folded_users import FoldedUsers
from cofactor_trainer.export.fitted.recency import FittedRecency, fit_recency
from cofactor_trainer.scoring.trained_model import TrainedModel

NORMAL_95 = 1.96
HOUR = 3600
HALF_LIVES = {"10 minutes": HOUR / 6, "an hour": HOUR, "7 days": 7 * 24 * HOUR}
RECENCY, PLAIN = "**folded in with `--recency`**", "folded in, order does not count"


@dataclass(frozen=True)
class Row:
    """The measures of a row: NDCG@10 and hits among the first ten, means over the seeds, each (n_users,)."""

    ndcg: np.ndarray
    hits: np.ndarray


def judge(model: TrainedModel, split: Split) -> Row:
    """Recommend to every user whose last event is held out."""
    judged = judge_recommendations(model, split, threshold=0.0)
    return Row(ndcg_by_user(judged.hits, judged.n_relevant), judged.hits.any(1).astype(np.float64))


def last_events(ratings: RatingsDataset) -> Split:
    """Hold out the very last event of every user."""
    return split_events(events_from_ratings(ratings, 4), last_mask, by_pair=False)


def decayed(split: Split, half_life: float) -> Split:
    """Weigh the events of every user by their age against the user's newest, as a server does it."""
    train = split.train
    assert train.timestamps is not None
    newest = np.full(train.n_users, -np.inf)
    np.maximum.at(newest, train.user_rows, train.timestamps)
    weights = np.exp2((train.timestamps - newest[train.user_rows]) / half_life).astype(np.float32)
    return replace(split, train=replace(train, ratings=weights))


def run(ratings: RatingsDataset, seed: int) -> tuple[dict[str, Row], FittedRecency]:
    """Train once, and judge all rows on the same last events."""
    split = last_events(ratings)
    model = ours(split, seed)
    fold_in = partial(FoldedUsers(model, split.train).fold_in, users=np.arange(split.train.n_users))
    fitted = fit_recency(model, split.train)
    assert split.train.events is not None
    with_order = replace(split, train=replace(split.train, events=fitted.apply(split.train.events)))
    rows = {
        RECENCY: judge(fold_in(with_order.train), split),
        PLAIN: judge(fold_in(split.train), split),
        "the trained vectors of the users": judge(model, split),
    }
    for name, seconds in HALF_LIVES.items():
        rows[f"folded in, half-life of {name}"] = judge(fold_in(decayed(split, seconds).train), split)
    rows["popularity"] = judge(fit_popularity(split.train), split)
    rows["popularity of the latest 10 %"] = judge(fit_recent_popularity(split.train), split)
    return rows, fitted


def over_seeds(runs: Sequence[dict[str, Row]]) -> dict[str, Row]:
    """Return the means of every user over the seeds."""
    return {
        name: Row(np.mean([run[name].ndcg for run in runs], 0), np.mean([run[name].hits for run in runs], 0))
        for name in runs[0]
    }


def difference(first: Row, other: Row) -> tuple[float, float]:
    """Return the mean difference in NDCG@10 of the same users, and half of its 95 % interval."""
    of_users = first.ndcg - other.ndcg
    return float(of_users.mean()), float(NORMAL_95 * of_users.std(ddof=1) / np.sqrt(len(of_users)))


def table(rows: dict[str, Row]) -> str:
    """Return all rows as a table."""
    lines = ["| | NDCG@10 | the last event is among the first ten | recency less this |", "|---|---|---|---|"]
    for name, row in rows.items():
        mean, half = difference(rows[RECENCY], row)
        less = "" if name == RECENCY else f"{mean:+.4f} ± {half:.4f}"
        lines.append(f"| {name} | {row.ndcg.mean():.4f} | {row.hits.mean():.4f} | {less} |")
    return "\n".join(lines)


def main() -> int:
    """Measure; print the table and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the trainings")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ratings = load_100k(ml_100k_folder(), by_title=True)
    runs = [run(ratings, seed) for seed in arguments.seeds]
    rows, fitted = over_seeds([rows for rows, _ in runs]), [found for _, found in runs]
    lows = {
        name: mean - half
        for name, (mean, half) in ((name, difference(rows[RECENCY], rows[name])) for name in rows)
        if name != RECENCY
    }
    met = all(low > 0 for low in lows.values())
    print(table(rows), *(found.describe() for found in fitted), sep="\n")
    if arguments.output is not None:
        arguments.output.write_text(document(rows, fitted, lows, arguments.seeds), encoding="utf-8")
    print("targets:", "met" if met else "MISSED")
    return int(not met)


def document(
    rows: dict[str, Row], fitted: Sequence[FittedRecency], lows: dict[str, float], seeds: Sequence[int]
) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.events.sessions", *sys.argv[1:]])
    verdicts = "\n".join(
        f"| {name} | {low:.4f} | 0 | {'met' if low > 0 else '**missed**'} |" for name, low in lows.items()
    )
    found = "\n".join(f"- seed {seed}: {one.describe()}" for seed, one in zip(seeds, fitted, strict=True))
    return f"""# Sessions

What `cofactor-train --recency` is worth for what comes next. MovieLens 100k, ratings from 4 on are events, and the very
last event of every user is held out: {len(rows[RECENCY].ndcg)} users, those whose last rating is an event. Everybody is
folded in from the events before it, as a new user is, and gets ten recommendations. Boost and decay are fitted on the
last events of the train part; no held-out event took part in that.

- All figures are means over trainings with the seeds {", ".join(map(str, seeds))}.
- The half-lives count when users are folded in, from the newest event of each; the training is the same.
- "Recency less this" is the difference in NDCG@10 with its 95 % interval, users as units.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

{table(rows)}

What the trainings found:

{found}

## What it does not show

- People rated these films on a page that showed them in some order, most of them within an hour. Some of the gain is
  the order of that page, and not that of a taste (Y. Fan et al., Our model achieves excellent performance on MovieLens:
  what does it mean?, ACM TOIS 2024). `cofactor-train` measures the gain on your own last events and uses recency only
  if it is above chance.
- The last.fm data has counts without times, so it says nothing about order.

## Targets

| recency above this, low end of the interval | value | above | |
|---|---|---|---|
{verdicts}
"""


if __name__ == "__main__":
    sys.exit(main())
