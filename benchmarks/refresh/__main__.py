"""Compare a warm start with full retraining, after 1 % of new ratings of MovieLens 100k.

    python -m benchmarks.refresh [--seeds 42 43 44 45 46] [--runs 3] [--large] [--cache FILE]
        [--check] [--output docs/benchmarks/refresh.md]

COFACTOR_ML100K names the folder of MovieLens 100k. A random 20 % of the ratings are held out and judge every model. Of
the others, 1 % are new: a random choice, or the latest. The first version is trained on the rest with the default
recipe and exported; then the default recipe is trained again on everything, and a warm start learns the new ratings.
Further parts: ten warm starts in a row, each from the version before it, and the whole commands on MovieLens and,
with --large, on a generated table of a million ratings. --cache keeps the lines of the parts that are done, so that a
run can go on. Targets: a warm start takes at most 10 % of the processor time of training, and its error is at most
0.002 higher on average.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from benchmarks.datasets import ml_100k_folder
from benchmarks.refresh.commands import MAX_TIME_SHARE, NEW_SHARE, made_ratings, measure_commands, newest
from benchmarks.refresh.page import document
from cofactor_trainer.architectures.recipes import DEFAULT_RECIPE, RECIPES
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import Split, random_split, split_by_mask
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, evaluate_ratings
from cofactor_trainer.export.finished_training import FinishedTraining
from cofactor_trainer.refresh.changes import find_changes
from cofactor_trainer.refresh.starting_version import read_starting_version
from cofactor_trainer.refresh.warm_start import carry_over, warm_start
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.train import train

SEEDS = (42, 43, 44, 45, 46)
N_IN_A_ROW, N_SPLITS_IN_A_ROW = 10, 1
LARGE_TABLE = 1_000_000
MAX_ERROR_DIFFERENCE = 0.002
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class Timer:
    """Processor time of a block, in seconds."""

    def __enter__(self) -> Timer:
        self._started = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self._started


def train_in_full(ratings: RatingsDataset, seed: int = 1) -> TrainedModel:
    """Train both parts of the default recipe."""
    recipe = RECIPES[DEFAULT_RECIPE]
    return add_ranking_part(train(ratings, None, recipe, seed=seed).model, ratings, recipe, seed=seed)


def any_ratings(ratings: RatingsDataset, share: float, seed: int) -> np.ndarray:
    """Mark a random choice of ratings, (n_ratings,)."""
    mask = np.zeros(ratings.n_ratings, bool)
    mask[np.random.RandomState(1000 + seed).permutation(ratings.n_ratings)[: round(share * ratings.n_ratings)]] = True
    return mask


def export(model: TrainedModel, ratings: RatingsDataset, folder: Path, version: str) -> Path:
    """Export a version without metrics."""
    return FinishedTraining(model, ratings, "films", version, {}, {}).export(folder)


def errors(model: TrainedModel, split: Split) -> tuple[float, float]:
    """Return the squared error and the NDCG@10 on the held-out ratings."""
    return evaluate_ratings(model, split).mse, evaluate_ranking(model, split).ndcg


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the width of its 95 % interval."""
    if len(values) < 2:
        return values[0], float("nan")
    return statistics.mean(values), T_QUANTILES[len(values) - 1] * statistics.stdev(values) / len(values) ** 0.5


def measure_one_refresh(seeds: Sequence[int]) -> dict[str, list[str]]:
    """Refresh once on every split; return the lines of the tables and the verdicts."""
    dataset = load_100k(ml_100k_folder(), by_title=True)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    shares: dict[str, list[float]] = {"keep": [], "renew": []}
    seconds: dict[str, list[float]] = {"full": [], "keep": [], "renew": []}
    for seed in seeds:
        split = random_split(dataset, 0.2, seed)
        with Timer() as timer:
            full = train_in_full(split.train)
        full_seconds = timer.seconds
        seconds["full"].append(full_seconds)
        reference = errors(full, split)
        models: dict[str, dict[str, TrainedModel]] = {"none": {"another full training": train_in_full(split.train, 2)}}
        news = {
            "a random 1 %": any_ratings(split.train, NEW_SHARE, seed),
            "the latest 1 %": newest(split.train, NEW_SHARE),
        }
        for title, mask in news.items():
            before = split_by_mask(split.train, mask).train
            with tempfile.TemporaryDirectory() as folder:
                start = read_starting_version(export(train_in_full(before), before, Path(folder), "1"))
                models[title] = {"first version": carry_over(start, split.train, find_changes(start, split.train))}
                for choice in ("keep", "renew"):
                    with Timer() as timer:
                        result = warm_start(start, split.train, keeps_space=choice == "keep")
                    models[title][choice] = result.model
                    shares[choice].append(timer.seconds / full_seconds)
                    seconds[choice].append(timer.seconds)
        for title, rows in models.items():
            for name, model in rows.items():
                mse, ndcg = errors(model, split)
                pair = (mse - reference[0], ndcg - reference[1])
                found.setdefault(title, {}).setdefault(name, []).append(pair)
                print(f"split {seed}, {title}, {name}: {pair[0]:+.4f}, {pair[1]:+.4f}", flush=True)
    return {
        "errors": _error_lines(found),
        "time": [
            f"| {name} | {statistics.median(seconds[key]):.2f} | {min(seconds[key]):.2f} to {max(seconds[key]):.2f} | "
            + (f"{statistics.median(shares[key]):.1%} |" if key in shares else "100 % |")
            for name, key in (("full training", "full"), ("warm start, keep", "keep"), ("warm start, renew", "renew"))
        ],
        "verdict": _verdicts(found, shares),
    }


def _error_lines(found: dict[str, dict[str, list[tuple[float, float]]]]) -> list[str]:
    lines = []
    for title, rows in found.items():
        for name, pairs in rows.items():
            mse, mse_half = mean_and_interval([pair[0] for pair in pairs])
            ndcg, ndcg_half = mean_and_interval([pair[1] for pair in pairs])
            worst = max(pair[0] for pair in pairs)
            lines.append(
                f"| {title} | {name} | {mse:+.4f} ± {mse_half:.4f} | {worst:+.4f} | {ndcg:+.4f} ± {ndcg_half:.4f} |"
            )
    return lines


def _verdicts(found: dict[str, dict[str, list[tuple[float, float]]]], shares: dict[str, list[float]]) -> list[str]:
    verdicts = []
    for choice in ("keep", "renew"):
        share = statistics.median(shares[choice])
        verdicts.append(_verdict(f"{choice}: {share:.1%} of the time of full training", share <= MAX_TIME_SHARE))
        for title, rows in found.items():
            if choice in rows:
                mean = statistics.mean(pair[0] for pair in rows[choice])
                verdicts.append(_verdict(f"{choice}, {title}: MSE {mean:+.4f}", mean <= MAX_ERROR_DIFFERENCE))
    return verdicts


def _verdict(text: str, met: bool) -> str:
    return f"- {text}: {'met' if met else '**missed**'}"


def measure_in_a_row(seeds: Sequence[int]) -> dict[str, list[str]]:
    """Learn the latest tenth of the ratings in ten warm starts; return the differences to full training by step."""
    dataset = load_100k(ml_100k_folder(), by_title=True)
    found: dict[str, list[tuple[float, float]]] = {"keep": [], "renew": []}
    for seed in seeds:
        split = random_split(dataset, 0.2, seed)
        reference = errors(train_in_full(split.train), split)
        before = split_by_mask(split.train, newest(split.train, NEW_SHARE * N_IN_A_ROW)).train
        first = train_in_full(before)
        for choice, runs in found.items():
            with tempfile.TemporaryDirectory() as folder:
                path = export(first, before, Path(folder), "0")
                for step in range(1, N_IN_A_ROW + 1):
                    left = NEW_SHARE * (N_IN_A_ROW - step)
                    ratings = (
                        split_by_mask(split.train, newest(split.train, left)).train if left > 1e-9 else split.train
                    )
                    model = warm_start(read_starting_version(path), ratings, keeps_space=choice == "keep").model
                    path = export(model, ratings, Path(folder), str(step))
            mse, ndcg = errors(model, split)
            runs.append((mse - reference[0], ndcg - reference[1]))
            print(f"split {seed}, ten in a row, {choice}: {runs[-1][0]:+.4f}, {runs[-1][1]:+.4f}", flush=True)
    lines = []
    for choice, runs in found.items():
        columns = [", ".join(f"{pair[place]:+.4f}" for pair in runs) for place in (0, 1)]
        lines.append(f"| {choice} | {columns[0]} | {columns[1]} |")
    return {"row": lines}


def main() -> int:
    """Measure what the cache lacks, print and write the page; return 1 with --check if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of the splits (default: 42 to 46)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="rounds of the commands")
    parser.add_argument("--large", action="store_true", help="run the commands on a table of a million ratings, too")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="lines of the parts that are done")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, list[str]] = {}
    if flags.cache is not None and flags.cache.exists():
        parts = json.loads(flags.cache.read_text(encoding="utf-8"))
    measures: dict[str, Callable[[], dict[str, list[str]]]] = {
        "errors": lambda: measure_one_refresh(flags.seeds),
        "commands": lambda: {"commands": measure_commands("MovieLens 100k", load_100k(ml_100k_folder()), flags.runs)},
        "row": lambda: measure_in_a_row(flags.seeds[:N_SPLITS_IN_A_ROW]),
    }
    if flags.large:
        measures["large"] = lambda: {
            "large": measure_commands(f"generated, {LARGE_TABLE:,} ratings", made_ratings(LARGE_TABLE), 1)
        }
    for name, measure in measures.items():
        if name not in parts:
            parts |= measure()
            if flags.cache is not None:
                flags.cache.write_text(json.dumps(parts), encoding="utf-8")
    page = document(parts, flags.seeds, flags.seeds[:N_SPLITS_IN_A_ROW], flags.runs)
    print(page)
    if flags.output is not None:
        flags.output.write_text(page, encoding="utf-8")
    return int(flags.check and any("missed" in line for line in parts["verdict"]))


if __name__ == "__main__":
    sys.exit(main())
