"""Measure the error of every recipe on the splits 42 to 46 and on u1 to u5, beside targets and published figures.

    python -m benchmarks.accuracy [--quick] [--seeds 42 43 44 45 46] [--only dot-bias hybrid]
        [--data ML-100k ml-latest-small u1-u5] [--output docs/benchmarks/accuracy.md]

--quick trains on split 42 and on u1 only. COFACTOR_ML100K names the folder of MovieLens 100k; ml-latest-small comes
with the extra `demo`. u1 to u5 are the predefined splits of MovieLens 100k. The exit status is 1 if a recipe misses its
target.
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
from cofactor_trainer.data.splits import Split, predefined_split, random_split
from cofactor_trainer.evaluation.baselines import fit_biases
from cofactor_trainer.evaluation.evaluate import evaluate_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.train import train

SEEDS = (42, 43, 44, 45, 46)
PREDEFINED = ("u1", "u2", "u3", "u4", "u5")
# Root mean squared errors on u1, from S. C. Han et al., GLocal-K, CIKM 2021, and from the documentation of myFM.
PUBLISHED_ON_U1 = (
    ("GLocal-K, published", 0.889),
    ("Bayesian factorisation machine (myFM), published", 0.8833),
    ("the same with ordered probit, published", 0.8808),
)


@dataclass(frozen=True)
class Row:
    """A recipe, the data set to train it on, and its targets.

    Attributes:
        recipe: None for the biases of users and items alone.
        error_target: highest mean squared error, as the mean of the splits.
        seconds_target: most seconds of processor time to train, as the median of the splits.
        u1_target: highest root mean squared error on u1.
    """

    title: str
    dataset: str
    recipe: Recipe | None
    error_target: float | None = None
    seconds_target: float | None = None
    u1_target: float | None = None

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
        Row("best", hundred, RECIPES["best"], 0.746),
        Row("user and item biases", small, None),
        Row("fast", small, RECIPES["fast"]),
        Row("dot-bias without side information", small, plain),
        Row("dot-bias (default)", small, RECIPES["dot-bias"], 0.710, 8.0),
        Row("neural-net", small, RECIPES["neural-net"], 0.771),
        Row("hybrid", small, RECIPES["hybrid"]),
        Row("best", small, RECIPES["best"]),
    ]


def _predefined_rows() -> list[Row]:
    recipes = [None, RECIPES["dot-bias"], RECIPES["hybrid"], RECIPES["best"]]
    titles = ("user and item biases", "dot-bias (default)", "hybrid", "best")
    targets = (None, None, None, 0.8808)
    return [
        Row(title, "u1-u5", recipe, u1_target=target)
        for title, recipe, target in zip(titles, recipes, targets, strict=True)
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


def predefined_line(row: Row, errors: list[float], seconds: list[float]) -> tuple[str, bool]:
    """Return a line of the table of u1 to u5, and True if the row meets its target."""
    roots = [error**0.5 for error in errors]
    others = [f"{root:.4f}" for root in roots[1:]] + [""] * (len(PREDEFINED) - len(roots))
    mean = f"{statistics.mean(roots):.4f}" if len(roots) == len(PREDEFINED) else ""
    met = row.u1_target is None or roots[0] <= row.u1_target
    target = "" if row.u1_target is None else f"{row.u1_target:g}, {'met' if met else '**missed**'}"
    cells = [row.title, f"{roots[0]:.4f}", target, *others, mean, f"{statistics.median(seconds):.1f}"]
    return f"| {' | '.join(cells)} |", met


def measure_predefined(only: Sequence[str] | None, *, quick: bool) -> tuple[list[str], bool]:
    """Train on u1 to u5, or on u1 only; return the lines of the table, and True if a row misses its target."""
    names = PREDEFINED[:1] if quick else PREDEFINED
    splits = [predefined_split(load_100k(ml_100k_folder(), split_name=name)) for name in names]
    lines = [f"| {title} | {error:g} | | | | | | | |" for title, error in PUBLISHED_ON_U1]
    missed = False
    for row in _predefined_rows():
        if not is_chosen(row, only):
            continue
        text, met = predefined_line(row, *measure(row, splits))
        print(text, flush=True)
        lines.append(text)
        missed |= not met
    return lines, missed


def is_chosen(row: Row, only: Sequence[str] | None) -> bool:
    """Return True if the names of recipes, None for all, choose the row."""
    return not only or (row.recipe is not None and row.recipe.name in only)


def main() -> int:
    """Train every chosen row; print the tables and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="train on split 42 only")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of the splits (default: 42 to 46)")
    data = ("ML-100k", "ml-latest-small", "u1-u5")
    parser.add_argument("--data", nargs="+", choices=data, default=data, help="measure only the rows of these")
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
        if row.dataset not in arguments.data or not is_chosen(row, arguments.only):
            continue
        if row.dataset not in splits:
            dataset = loaders[row.dataset]()
            splits[row.dataset] = [random_split(dataset, 0.2, seed) for seed in seeds]  # type: ignore[arg-type]
        text, met = line(row, *measure(row, splits[row.dataset]))
        print(text, flush=True)
        lines.append(text)
        missed |= not met
    predefined: list[str] = []
    if "u1-u5" in arguments.data:
        predefined, missed_u1 = measure_predefined(arguments.only, quick=arguments.quick)
        missed |= missed_u1
    if arguments.output is not None:
        arguments.output.write_text(document(lines, predefined, seeds), encoding="utf-8")
    return int(missed)


def document(lines: Sequence[str], predefined: Sequence[str], seeds: Sequence[int]) -> str:
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
    if not predefined:
        return head + "\n".join(lines) + "\n"
    return head + "\n".join(lines) + PREDEFINED_HEAD + "\n".join(predefined) + "\n"


PREDEFINED_HEAD = """

## The predefined splits u1 to u5

Root mean squared error on the splits that come with MovieLens 100k: the i-th block of 20,000 lines of `u.data` is held
out, and items are those of the catalogue, not titles. Held-out ratings of items that the train part lacks count. All
ratings that u1 holds out are by 459 of the first 462 users, so its errors are higher. Published figures are for u1.
Nothing was tuned on these splits.

| | u1 | target for u1 | u2 | u3 | u4 | u5 | mean | seconds |
|---|---|---|---|---|---|---|---|---|
"""


if __name__ == "__main__":
    sys.exit(main())
