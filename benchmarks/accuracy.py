"""Measure the error of every recipe on the splits 42 to 46 and compare it with its target.

    python -m benchmarks.accuracy [--quick] [--seeds 42 43 44 45 46] [--only dot-bias hybrid]
        [--data ML-100k] [--output docs/benchmarks/accuracy.md]

--quick trains on split 42 only. COFACTOR_ML100K names the folder of MovieLens 100k; ml-latest-small comes with the
extra `demo`. The exit status is 1 if a recipe misses its target.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch

from benchmarks.datasets import ml_100k_folder
from cofactor_trainer.architectures.recipes import RECIPES, Recipe
from cofactor_trainer.data.movielens import load_100k, load_embedded_small
from cofactor_trainer.data.splits import Split, random_split
from cofactor_trainer.evaluation.baselines import fit_biases
from cofactor_trainer.evaluation.evaluate import evaluate_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.train import train

SEEDS = (42, 43, 44, 45, 46)


@dataclass(frozen=True)
class Row:
    """A recipe, the data set to train it on, and its targets.

    Attributes:
        recipe: None for the biases of users and items alone.
        error_target: highest mean squared error, as the mean of the splits.
        seconds_target: most seconds of processor time to train, as the median of the splits.
    """

    title: str
    dataset: str
    recipe: Recipe | None
    error_target: float | None = None
    seconds_target: float | None = None

    def fit(self, split: Split) -> TrainedModel:
        """Train on one split; without a recipe, fit biases only."""
        return fit_biases(split.train) if self.recipe is None else train(split.train, None, self.recipe, seed=1).model


def _rows() -> list[Row]:
    plain = replace(RECIPES["dot-bias"], side_information=False)
    hundred, small = "ML-100k", "ml-latest-small"
    return [
        Row("user and item biases", hundred, None),
        Row("p5, the published recipe", hundred, RECIPES["p5"], 0.813),
        Row("fast", hundred, RECIPES["fast"]),
        Row("dot-bias without side information", hundred, plain),
        Row("dot-bias (default)", hundred, RECIPES["dot-bias"], 0.771, 8.0),
        Row("neural-net", hundred, RECIPES["neural-net"], 0.816),
        Row("hybrid", hundred, RECIPES["hybrid"], 0.764),
        Row("best", hundred, RECIPES["best"], 0.750),
        Row("user and item biases", small, None),
        Row("fast", small, RECIPES["fast"]),
        Row("dot-bias without side information", small, plain),
        Row("dot-bias (default)", small, RECIPES["dot-bias"], 0.710, 8.0),
        Row("neural-net", small, RECIPES["neural-net"], 0.771),
        Row("hybrid", small, RECIPES["hybrid"]),
        Row("best", small, RECIPES["best"]),
    ]


def measure(row: Row, splits: Sequence[Split]) -> tuple[list[float], list[float]]:
    """Train on every split; return the errors and the seconds of processor time."""
    errors, seconds = [], []
    for split in splits:
        started = time.process_time()
        model = row.fit(split)
        seconds.append(time.process_time() - started)
        errors.append(evaluate_ratings(model, split).mse)
    return errors, seconds


def line(row: Row, errors: list[float], seconds: list[float]) -> tuple[str, bool]:
    """Return a line of the table, and True if the row meets its targets."""
    mean, spent = statistics.mean(errors), statistics.median(seconds)
    is_accurate = row.error_target is None or mean <= row.error_target
    met = is_accurate and (row.seconds_target is None or spent <= row.seconds_target)
    spread = f"{min(errors):.4f} to {max(errors):.4f}"
    target = "" if row.error_target is None else f"{row.error_target:.3f}"
    target += "" if row.seconds_target is None else f", {row.seconds_target:g} s"
    verdict = "" if row.error_target is None else "met" if met else "**missed**"
    return f"| {row.title} | {row.dataset} | {mean:.4f} | {spread} | {spent:.1f} | {target} | {verdict} |", met


def main() -> int:
    """Train every chosen row; print the table and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="train on split 42 only")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of the splits (default: 42 to 46)")
    parser.add_argument("--data", choices=("ML-100k", "ml-latest-small"), help="measure only the rows of this data set")
    parser.add_argument("--only", nargs="+", metavar="RECIPE", help="measure only the rows of these recipes")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loaders: dict[str, Callable[[], object]] = {
        "ML-100k": lambda: load_100k(ml_100k_folder(), by_title=True),
        "ml-latest-small": load_embedded_small,
    }
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    splits: dict[str, list[Split]] = {}
    lines, missed = [], False
    for row in _rows():
        if arguments.data not in (None, row.dataset):
            continue
        if arguments.only and (row.recipe is None or row.recipe.name not in arguments.only):
            continue
        if row.dataset not in splits:
            dataset = loaders[row.dataset]()
            splits[row.dataset] = [random_split(dataset, 0.2, seed) for seed in seeds]  # type: ignore[arg-type]
        text, met = line(row, *measure(row, splits[row.dataset]))
        print(text, flush=True)
        lines.append(text)
        missed |= not met
    if arguments.output is not None:
        arguments.output.write_text(document(lines, seeds), encoding="utf-8")
    return int(missed)


def document(lines: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.accuracy", *sys.argv[1:]])
    head = f"""# Error of every recipe

Mean squared error on a random 20 % of the ratings: the mean, the lowest and the highest of the splits
{", ".join(map(str, seeds))}. A split takes the rows in file order; the first 20 % of
`RandomState(seed).permutation(n)` validate. Everything was tuned on split 7, which is not among them. Seconds are the
processor time that one thread needs to train, the median of the splits.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

| recipe | data | MSE | lowest to highest | seconds | target | |
|---|---|---|---|---|---|---|
"""
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
