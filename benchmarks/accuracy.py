"""Error of every recipe on the splits 42 to 46, against its bar.

    python -m benchmarks.accuracy [--quick] [--seeds 42 43 44 45 46] [--only dot-bias hybrid]
        [--data ML-100k] [--output docs/benchmarks-accuracy.md]

--quick trains split 42 alone. COFACTOR_ML100K says where MovieLens 100k is; ml-latest-small comes with the demo extra.
Exits with 1 where a bar is missed.
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

from cofactor_trainer.architectures.recipes import RECIPES, Recipe
from cofactor_trainer.data.movielens import load_100k, load_embedded_small
from cofactor_trainer.data.splits import Split, random_split
from cofactor_trainer.evaluation.baselines import fit_biases
from cofactor_trainer.evaluation.evaluate import evaluate_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.train import train

FOLDER = Path(os.environ.get("COFACTOR_ML100K", Path(__file__).parents[2] / "shared/data/ml-100k"))
SEEDS = (42, 43, 44, 45, 46)


@dataclass(frozen=True)
class Row:
    """What to train, on which data, and what it must reach: error (mean of the splits), seconds of one core."""

    title: str
    dataset: str
    recipe: Recipe | None
    bar: float | None = None
    seconds: float | None = None

    def fit(self, split: Split) -> TrainedModel:
        """The model; the biases alone where there is no recipe."""
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
    """Error, and seconds of processor time to train, of each split."""
    errors, seconds = [], []
    for split in splits:
        started = time.process_time()
        model = row.fit(split)
        seconds.append(time.process_time() - started)
        errors.append(evaluate_ratings(model, split).mse)
    return errors, seconds


def line(row: Row, errors: list[float], seconds: list[float]) -> tuple[str, bool]:
    """A line of the table, and whether the bars are met."""
    mean, spent = statistics.mean(errors), statistics.median(seconds)
    met = (row.bar is None or mean <= row.bar) and (row.seconds is None or spent <= row.seconds)
    spread = f"{min(errors):.4f} to {max(errors):.4f}"
    bar = "" if row.bar is None else f"{row.bar:.3f}" + ("" if row.seconds is None else f", {row.seconds:g} s")
    verdict = "" if row.bar is None else "met" if met else "**missed**"
    return f"| {row.title} | {row.dataset} | {mean:.4f} | {spread} | {spent:.1f} | {bar} | {verdict} |", met


def main() -> int:
    """Train, print, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="split 42 alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the splits (default: 42 to 46)")
    parser.add_argument("--data", choices=("ML-100k", "ml-latest-small"), help="rows of this data set")
    parser.add_argument("--only", nargs="+", metavar="RECIPE", help="rows of these recipes")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loaders: dict[str, Callable[[], object]] = {
        "ML-100k": lambda: load_100k(FOLDER, by_title=True),
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
    """The page."""
    command = " ".join(["python", "benchmarks/accuracy.py", *sys.argv[1:]])
    head = f"""# Error of every recipe

Mean squared error on a random 20 % of the ratings, mean and range over the splits {", ".join(map(str, seeds))} (rows
in file order, the first 20 % of `RandomState(seed).permutation(n)` validate). Everything was tuned on split 7, which is
not among them. Seconds are processor time of one thread to train, the median of the splits.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

| recipe | data | MSE | lowest to highest | seconds | bar | |
|---|---|---|---|---|---|---|
"""
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
