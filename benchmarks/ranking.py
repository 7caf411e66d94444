"""Measure how well recipes order items, beside popularity, implicit's ALS and EASE.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.ranking [--seeds 42 43 44 45 46] [--output docs/benchmarks/ranking.md]

The data is MovieLens 100k with one item per title. A random 20 % of each user's ratings is held out; ratings of at
least 4 are relevant. Every item that the user has not rated in the train part is a candidate. COFACTOR_ML100K names the
folder of the data. The exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import implicit
import numpy as np
import scipy.sparse
import torch
from implicit.als import AlternatingLeastSquares

from benchmarks.datasets import ml_100k_folder
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import Split, per_user_split
from cofactor_trainer.evaluation.baselines import fit_popularity
from cofactor_trainer.evaluation.evaluate import evaluate_ranking
from cofactor_trainer.evaluation.metrics import RankingMetrics
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.train import train

NDCG_TARGET, RECALL_TARGET = 0.365, 0.283


@dataclass(frozen=True)
class Row:
    """A way to order items, and how much popularity adds to its scores."""

    title: str
    fit: Callable[[Split], TrainedModel]
    popularity_weight: float = 0.0


def as_model(users: np.ndarray, items: np.ndarray) -> TrainedModel:
    """Return the dot product of users (n_users, d) and items (n_items, d) as a model; its unknown rows are 0."""
    return TrainedModel(
        architecture="dot-product",
        objective="ranking",
        user_factors=np.vstack([users, np.zeros_like(users[:1])]).astype(np.float32),
        user_bias=np.zeros(len(users) + 1, np.float32),
        item_factors=np.vstack([items, np.zeros_like(items[:1])]).astype(np.float32),
        item_bias=np.zeros(len(items) + 1, np.float32),
        global_bias=0.0,
        rating_range=None,
        n_dot_factors=users.shape[1],
    )


def als(split: Split) -> TrainedModel:
    """Train implicit's ALS with 32 factors; every rating is an interaction of the same weight."""
    ratings = split.train
    shape = (ratings.n_users, ratings.n_items)
    matrix = scipy.sparse.csr_matrix((np.ones(ratings.n_ratings), (ratings.user_rows, ratings.item_rows)), shape)
    model = AlternatingLeastSquares(factors=32, num_threads=1, random_state=0)
    model.fit(matrix, show_progress=False)
    return as_model(np.asarray(model.user_factors), np.asarray(model.item_factors))


def ease(split: Split) -> TrainedModel:
    """Train plain EASE with a penalty of 300; every rating is an interaction of the same weight.

    H. Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019.
    """
    ratings = split.train
    rated = np.zeros((ratings.n_users, ratings.n_items))
    rated[ratings.user_rows, ratings.item_rows] = 1
    inverse = np.linalg.inv(rated.T @ rated + 300 * np.eye(ratings.n_items))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return as_model(rated, weights.T)


def of_recipe(name: str, **changes: object) -> Callable[[Split], TrainedModel]:
    """Return a function that trains a recipe with some of its settings changed."""
    recipe = replace(RECIPES[name], **changes)  # type: ignore[arg-type]
    return lambda split: train(split.train, None, recipe, seed=1).model


ROWS = (
    Row("popularity", lambda split: fit_popularity(split.train)),
    Row("dot-bias, by predicted rating", of_recipe("dot-bias")),
    Row("dot-bias, popularity-corrected", of_recipe("dot-bias"), 1.0),
    Row(f"implicit {implicit.__version__} ALS, 32 factors", als),
    Row("EASE, penalty 300", ease),
    Row("ranking with 50 factors", of_recipe("ranking", n_factors=50)),
    Row("**ranking**", of_recipe("ranking")),
)


def main() -> int:
    """Train and judge every row; print the table and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44, 45, 46], help="seeds of the splits")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_100k(ml_100k_folder(), by_title=True)
    splits = [per_user_split(dataset, 0.2, seed) for seed in arguments.seeds]
    lines, means = [], {}
    for row in ROWS:
        started = time.process_time()
        models = [row.fit(split) for split in splits]
        seconds = (time.process_time() - started) / len(splits)
        measured = [
            evaluate_ranking(model, split, popularity_weight=row.popularity_weight)
            for model, split in zip(models, splits, strict=True)
        ]
        means[row.title] = measures = {name: mean(measured, name) for name in ("recall", "ndcg", "mrr", "coverage")}
        lines.append(
            f"| {row.title} | " + " | ".join(f"{value:.3f}" for value in measures.values()) + f" | {seconds:.1f} |"
        )
        print(lines[-1], flush=True)
    if arguments.output is not None:
        arguments.output.write_text(document(lines, arguments.seeds), encoding="utf-8")
    best, others = means["**ranking**"], (means[row.title]["ndcg"] for row in ROWS[:-2])
    met = best["ndcg"] >= max(NDCG_TARGET, *others) and best["recall"] >= RECALL_TARGET
    print("targets:", "met" if met else "MISSED")
    return int(not met)


def mean(measured: list[RankingMetrics], name: str) -> float:
    """Return the mean of one measure over the splits."""
    return statistics.mean(getattr(metrics, name) for metrics in measured)


def document(lines: list[str], seeds: list[int]) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.ranking", *sys.argv[1:]])
    return (
        f"""# Ranking

MovieLens 100k with one item per title. A random 20 % of each user's ratings is held out; a held-out rating of at least
4 is relevant. Every item that the user has not rated is a candidate, and the first 10 recommendations count. Figures
are means of the seeds {", ".join(map(str, seeds))}. The `ranking` recipe was tuned on seed 7. ALS and EASE are plain:
every rating is an interaction of the same weight. Targets for `ranking`: NDCG@10 of at least {NDCG_TARGET} and above
every other row, Recall@10 of at least {RECALL_TARGET}. Seconds are the processor time that one thread needs to train.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

| | Recall@10 | NDCG@10 | MRR | coverage | seconds |
|---|---|---|---|---|---|
"""
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
