"""Run the whole commands cofactor-train, in full and from a version, on tables with 1 % of new ratings."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.datasets import ml_100k_folder
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.movielens import load_100k

NEW_SHARE = 0.01
MAX_TIME_SHARE = 0.10


def newest(ratings: RatingsDataset, share: float) -> np.ndarray:
    """Mark the latest ratings, (n_ratings,); without times the last ones."""
    times = np.arange(ratings.n_ratings) if ratings.timestamps is None else ratings.timestamps
    mask = np.zeros(ratings.n_ratings, bool)
    mask[np.argsort(times, kind="stable")[-round(share * ratings.n_ratings) :]] = True
    return mask


def write_table(ratings: RatingsDataset, chosen: np.ndarray, path: Path) -> None:
    """Write some ratings of a data set as a table."""
    times = np.arange(ratings.n_ratings) if ratings.timestamps is None else ratings.timestamps
    users = np.array(ratings.user_ids)[ratings.user_rows[chosen]]
    items = np.array(ratings.catalogue.item_ids)[ratings.item_rows[chosen]]
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id,item_id,rating,timestamp\n")
        for row in zip(users, items, ratings.ratings[chosen].tolist(), times[chosen].tolist(), strict=True):
            file.write(",".join(map(str, row)) + "\n")


def made_ratings(n_ratings: int) -> RatingsDataset:
    """Make ratings of items by users with eight tastes; popularity follows a power law."""
    random = np.random.default_rng(0)
    n_users, n_items = n_ratings // 100, n_ratings // 250
    users = random.integers(n_users, size=2 * n_ratings)
    items = (n_items * random.random(2 * n_ratings) ** 2).astype(np.int64)
    firsts = np.unique(users * n_items + items, return_index=True)[1]
    chosen = np.sort(random.permutation(firsts)[:n_ratings])
    users, items = users[chosen], items[chosen]
    tastes, qualities = random.normal(0, 0.4, (n_users, 8)), random.normal(0, 0.8, (n_items, 8))
    stars = 3.6 + np.einsum("nf,nf->n", tastes[users], qualities[items]) + random.normal(0, 0.8, len(users))
    source = load_100k(ml_100k_folder())
    return replace(
        source,
        user_ids=[f"u{n}" for n in range(n_users)],
        catalogue=replace(source.catalogue, item_ids=[f"i{n}" for n in range(n_items)]),  # all that write_table reads
        user_rows=users.astype(np.int32),
        item_rows=items.astype(np.int32),
        ratings=stars.round().clip(1, 5).astype(np.float32),
        timestamps=None,
        profiles=None,
    )


def run_command(*words: str) -> float:
    """Run cofactor-train; return its seconds of processor time, and those of its child processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "cofactor_trainer", *words], check=True, capture_output=True, text=True, env=os.environ
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_commands(title: str, ratings: RatingsDataset, runs: int) -> list[str]:
    """Run both commands in turn on the whole table, of which the last 1 % are new to the first version."""
    mask = newest(ratings, NEW_SHARE)
    full, warm = [], []
    with tempfile.TemporaryDirectory() as folder:
        everything = np.ones(ratings.n_ratings, bool)
        write_table(ratings, ~mask, Path(folder) / "old.csv")
        write_table(ratings, everything, Path(folder) / "all.csv")
        common = ["train", "--device", "cpu", "--output", f"{folder}/models", "--name", "films"]
        run_command(*common, "--dataset", f"{folder}/old.csv", "--version", "first", "--validation-fraction", "0")
        start = f"{folder}/models/films/first"
        for number in range(runs):
            data = ["--dataset", f"{folder}/all.csv", "--version"]
            full.append(run_command(*common, *data, f"full{number}"))
            warm.append(run_command(*common, *data, f"warm{number}", "--warm-start", start))
            print(f"{title}: {full[-1]:.1f} s in full, {warm[-1]:.1f} s from a version", flush=True)
    ratio = statistics.median(b / a for a, b in zip(full, warm, strict=True))
    verdict = "met" if ratio <= MAX_TIME_SHARE else "**missed**"
    return [f"| {title} | {statistics.median(full):.1f} | {statistics.median(warm):.1f} | {ratio:.1%} | {verdict} |"]
