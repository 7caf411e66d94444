"""Measure how well versions order items and predict ratings, beside popularity, Surprise, implicit and EASE.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.ranking [--quick] [--seeds 42 43 44 45 46] [--surprise PYTHON]
        [--output docs/benchmarks/ranking.md]

The data is MovieLens 100k with one item per title. A random 20 % of each user's ratings is held out; ratings of at
least 4 are relevant. Every item that the user has not rated in the train part is a candidate. COFACTOR_ML100K names the
folder of the data. --quick takes split 42 only. --surprise names the Python of an environment with
benchmarks/surprise/requirements.txt; without it, the row of Surprise is left out. The exit status is 1 if a target is
missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from benchmarks.datasets import ml_100k_folder
from benchmarks.ranking_rows import BEST, DEFAULT, WEIGHTED_EASE, Fit, Row, all_rows
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import Split, per_user_split, random_split
from cofactor_trainer.evaluation.evaluate import evaluate_ratings, judge_recommendations
from cofactor_trainer.evaluation.metrics import ndcg_by_user, ranking_metrics
from cofactor_trainer.scoring.trained_model import TrainedModel

# A normal variable is within this many standard deviations of its mean with probability 95 %.
NORMAL_95 = 1.96
MEASURES = ("recall", "ndcg", "mrr", "coverage", "commonest", "firsts", "mse")
FORMATS = ("{:.3f}", "{:.3f}", "{:.3f}", "{:.3f}", "{:.1%}", "{:.0f}", "{:.4f}")
HEAD = "| | Recall@10 | NDCG@10 | MRR | coverage | commonest first | different firsts | MSE |"


@dataclass(frozen=True)
class Measured:
    """Hold what one row reached.

    Attributes:
        means: measures by name, means over the splits.
        ndcg: NDCG@10 of every user on every split, (n,).
        users: number of the user of each of them, (n,); users are the units of the intervals.
        seconds: processor time to train, mean of the splits; None if the row shares the models of an earlier one.
    """

    means: dict[str, float]
    ndcg: np.ndarray
    users: np.ndarray
    seconds: float | None


@dataclass(frozen=True)
class Target:
    """A bound that a measure of a row must keep."""

    row: str
    measure: str
    bound: float
    is_upper: bool = False

    def line(self, value: float) -> tuple[str, bool]:
        """Return a line that compares the value with the bound, and True if it is kept."""
        met = value <= self.bound if self.is_upper else value >= self.bound
        sign = "at most" if self.is_upper else "at least"
        verdict = "met" if met else "**missed**"
        return f"| {self.row} | {self.measure} | {value:.4f} | {sign} {self.bound:g} | {verdict} |", met


TARGETS = (
    Target(DEFAULT, "ndcg", 0.396),
    Target(DEFAULT, "coverage", 0.26),
    Target(DEFAULT, "firsts", 150),
    Target(DEFAULT, "commonest", 0.08, is_upper=True),
    Target(BEST, "ndcg", 0.402),
    Target("ranking", "ndcg", 0.365),
    Target("ranking", "recall", 0.283),
)
# On random splits, the protocol of benchmarks/accuracy.py.
RANDOM_TARGETS = (Target(DEFAULT, "mse", 0.758, is_upper=True), Target(BEST, "mse", 0.746, is_upper=True))


def processor_seconds() -> float:
    """Return the processor time of this process and of those that it ran."""
    return sum(os.times()[:4])


def measure(row: Row, splits: Sequence[Split], trained: dict[Fit, list[TrainedModel]]) -> Measured:
    """Train on every split, unless an earlier row did, and judge the order of the row."""
    seconds = None
    if row.fit not in trained:
        started = processor_seconds()
        trained[row.fit] = [row.fit(split) for split in splits]
        seconds = (processor_seconds() - started) / len(splits)
    measures: list[dict[str, float]] = []
    ndcg, users = [], []
    for model, split in zip(trained[row.fit], splits, strict=True):
        judged = judge_recommendations(model, split, order=row.order, popularity_weight=row.popularity_weight)
        metrics = ranking_metrics(judged.item_rows, judged.hits, judged.n_relevant, split.train.item_rating_counts())
        firsts = np.unique(judged.item_rows[:, 0], return_counts=True)[1]
        measures.append(
            {name: getattr(metrics, name) for name in ("recall", "ndcg", "mrr", "coverage")}
            | {"commonest": float(firsts.max() / firsts.sum()), "firsts": float(len(firsts))}
            | ({"mse": evaluate_ratings(model, split).mse} if model.objective == "rating" else {})
        )
        ndcg.append(ndcg_by_user(judged.hits, judged.n_relevant))
        # By id: splits may number the users in different ways.
        users.append(np.array([int(split.train.user_ids[user]) for user in judged.user_rows]))
    means = {name: float(np.mean([of_split[name] for of_split in measures])) for name in measures[0]}
    return Measured(means, np.concatenate(ndcg), np.concatenate(users), seconds)


def paired_difference(ours: Measured, other: Measured) -> tuple[float, float]:
    """Return the mean difference in NDCG over all users and splits, and the half width of its 95 % interval.

    A user's differences on several splits are not independent, so the users are the units: this is the standard error
    of a mean of clusters (A. C. Cameron and D. L. Miller, A practitioner's guide to cluster-robust inference, 2015).
    """
    differences = ours.ndcg - other.ndcg
    mean = float(differences.mean())
    sums = np.bincount(ours.users, differences - mean)
    n_users = len(np.unique(ours.users))
    error = float(np.sqrt(np.square(sums).sum() * n_users / (n_users - 1)) / len(differences))
    return mean, NORMAL_95 * error


def figures(measured: Measured) -> list[str]:
    """Return the measures as text, in the order of MEASURES; "" for one that the row has not."""
    return [
        form.format(measured.means[name]) if name in measured.means else ""
        for name, form in zip(MEASURES, FORMATS, strict=True)
    ]


def line(row: Row, measured: Mapping[str, Measured]) -> str:
    """Return a line of the table."""
    own = measured[row.title]
    values = figures(own)
    for title in (DEFAULT, BEST):
        mean, half = paired_difference(measured[title], own)
        values.append("" if title == row.title else f"{mean:+.3f} ± {half:.3f}")
    values.append("" if own.seconds is None else f"{own.seconds:.1f}")
    return f"| {row.title} | " + " | ".join(values) + " |"


def check_targets(measured: Mapping[str, Measured], random: Mapping[str, Measured]) -> tuple[list[str], bool]:
    """Return a line for every target, and True if all are met; ``random`` is what was measured on random splits."""
    checked = [target.line(measured[target.row].means[target.measure]) for target in TARGETS]
    checked += [target.line(random[target.row].means[target.measure]) for target in RANDOM_TARGETS]
    mean, half = paired_difference(measured[BEST], measured[WEIGHTED_EASE])
    met = mean - half > 0
    above = f"| {BEST} | ndcg above {WEIGHTED_EASE}, low end of the interval | {mean - half:+.4f} | above 0 |"
    checked.append((f"{above} {'met' if met else '**missed**'} |", met))
    return [text for text, _ in checked], all(is_met for _, is_met in checked)


def main() -> int:
    """Train and judge every row; print the tables and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44, 45, 46], help="seeds of the splits")
    parser.add_argument("--quick", action="store_true", help="split 42 only")
    parser.add_argument("--surprise", type=Path, metavar="PYTHON", help="Python of Surprise's environment")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [42] if arguments.quick else arguments.seeds
    dataset = load_100k(ml_100k_folder(), by_title=True)
    splits = [per_user_split(dataset, 0.2, seed) for seed in seeds]
    trained: dict[Fit, list[TrainedModel]] = {}
    measured: dict[str, Measured] = {}
    rows = all_rows(arguments.surprise)
    for row in rows:
        measured[row.title] = measure(row, splits, trained)
        print(f"{row.title}: NDCG@10 {measured[row.title].means['ndcg']:.4f}", flush=True)
    random_splits = [random_split(dataset, 0.2, seed) for seed in seeds]
    random = {row.title: measure(row, random_splits, {}) for row in rows if row.title in (DEFAULT, BEST)}
    lines = [line(row, measured) for row in rows]
    random_lines = [f"| {title} | {' | '.join(figures(of_row))} |" for title, of_row in random.items()]
    verdicts, met = check_targets(measured, random)
    print("\n".join([*lines, "", *random_lines, "", *verdicts]))
    if arguments.output is not None:
        arguments.output.write_text(document(lines, random_lines, verdicts, seeds), encoding="utf-8")
    print("targets:", "met" if met else "MISSED")
    return int(not met)


def document(lines: Sequence[str], random_lines: Sequence[str], verdicts: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.ranking", *sys.argv[1:]])
    rule = "|---" * (HEAD.count("|") - 1)
    table, random_table, targets = ("\n".join(part) for part in (lines, random_lines, verdicts))
    return f"""# Ranking

MovieLens 100k with one item per title. A random 20 % of each user's ratings is held out; a held-out rating of at least
4 is relevant. Every item that the user has not rated in the train part is a candidate, and the first 10 recommendations
count. Figures are means of the seeds {", ".join(map(str, seeds))}, over the users who have a relevant item held out.
Everything was tuned on seed 7. The rows in bold are versions that order and predict: all figures of such a row, the MSE
too, are of the same trainings.

- commonest first: share of the users who get the item that comes first most often; different firsts: number of items
  that come first for anyone.
- The last columns but one are differences in NDCG@10, default version or `best` less the row, with 95 % intervals: all
  seeds pooled, users as units.
- ALS, BPR and EASE without weights see every rating as an interaction of the same weight. ALS and EASE on rating
  weights see .1 for the lowest rating to 1.3 for the highest.
- Seconds are the processor time that one thread needs to train.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

{HEAD} default less this | best less this | seconds |
{rule}|---|---|---|
{table}

## On the random splits of accuracy.md

A random 20 % of all ratings is held out. Again all figures of a row are of the same trainings.

{HEAD}
{rule}|
{random_table}

## Targets

| | measure | value | target | |
|---|---|---|---|---|
{targets}
"""


if __name__ == "__main__":
    sys.exit(main())
