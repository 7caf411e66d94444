"""Measure the error for new users by the number of their ratings, with and without their profile.

94 of the 943 users of MovieLens 100k are hidden. A model is trained on the others and exported. The exported graph
folds the hidden users in from their first n ratings, in random order; the error is that of their ratings beyond the
20th. COFACTOR_ML100K names the folder of MovieLens 100k. docs/benchmarks/new-users.md has the printed tables.

    python -m benchmarks.fold_in [--recipe dot-bias ...] [--seeds 42 43 44]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.datasets import ml_100k_folder
from cofactor_trainer.architectures.recipes import find_recipe
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.profile_regression import encode_profiles
from cofactor_trainer.export.verification.parity import cpu_session
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.graphs.prior_estimation import estimate_rating_prior
from cofactor_trainer.training.train import train

N_HIDDEN = 94
COUNTS = (0, 5, 10, 20)


def hide(dataset, seed):
    """Return the data set without the hidden users, their rows in the whole one, and their ratings in random order."""
    random = np.random.RandomState(seed)
    hidden = random.permutation(dataset.n_users)[:N_HIDDEN]
    histories = [random.permutation(np.flatnonzero(dataset.user_rows == user)) for user in hidden]
    kept = np.setdiff1d(np.arange(dataset.n_users), hidden)
    row = np.full(dataset.n_users, -1, dtype=np.int32)
    row[kept] = np.arange(len(kept))
    mask = row[dataset.user_rows] >= 0
    train_ratings = replace(
        dataset,
        user_ids=[dataset.user_ids[user] for user in kept],
        user_rows=row[dataset.user_rows[mask]],
        item_rows=dataset.item_rows[mask],
        ratings=dataset.ratings[mask],
        timestamps=None,
        profiles=dataset.profiles.iloc[kept],
    )
    return train_ratings, hidden, histories


def errors(version, dataset, features, hidden, histories):
    """Fold the hidden users in; return error and milliseconds per user by (n ratings, with profile)."""
    embed, predict = (cpu_session(version / f"{graph}.onnx") for graph in ("embed_user", "predict"))
    profiles = encode_profiles(features, dataset.profiles.iloc[hidden]).astype(np.float32)
    result = {}
    for count in COUNTS:
        for with_profile in (False, True):
            squared, seconds = [], []
            for history, profile in zip(histories, profiles, strict=True):
                known, later = history[:count], history[20:]
                inputs = {
                    "item_rows": np.append(dataset.item_rows[known], dataset.n_items)[None],
                    "ratings": np.append(dataset.ratings[known], 0).astype(np.float32)[None],
                    "profile": profile[None] * np.float32(with_profile),
                }
                start = time.perf_counter()
                factors, bias, _ = embed.run(None, inputs)
                seconds.append(time.perf_counter() - start)
                users = {
                    "user_factors": factors,
                    "user_bias": bias,
                    "item_rows": dataset.item_rows[later].astype(np.int64),
                }
                squared.append((predict.run(["ratings"], users)[0] - dataset.ratings[later]) ** 2)
            result[count, with_profile] = np.concatenate(squared).mean(), 1000 * float(np.median(seconds))
    return result


def main() -> None:
    """Measure every recipe and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="+", default=["dot-bias"], help="recipes to measure")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], help="seeds that choose the hidden users")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_100k(ml_100k_folder(), by_title=True)
    print(f"{dataset.name}, {N_HIDDEN} hidden users, seeds {arguments.seeds}, onnxruntime {onnxruntime.__version__}")
    for recipe in arguments.recipe:
        results = []
        for seed in arguments.seeds:
            train_ratings, hidden, histories = hide(dataset, seed)
            model = train(train_ratings, None, find_recipe(recipe), seed=seed).model
            features = estimate_rating_prior(model, train_ratings).profile.features
            with tempfile.TemporaryDirectory() as folder:
                version = export_version(
                    model, train_ratings, Path(folder), "fold-in", "1", metrics={}, hyperparameters={}
                )
                results.append(errors(version, dataset, features, hidden, histories))
        print(f"\n{recipe}\n| ratings known | MSE | MSE with profile | ms |\n|---|---|---|---|")
        for count in COUNTS:
            plain, profile = (np.mean([result[count, given][0] for result in results]) for given in (False, True))
            milliseconds = np.mean([result[count, False][1] for result in results])
            print(f"| {count} | {plain:.4f} | {profile:.4f} | {milliseconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
