"""How long an epoch takes and how much memory it needs on 20 million ratings.

    python benchmarks/training_scale.py [--ratings 20000000] [--threads 2] [--output docs/benchmarks-training-scale.md]

Synthetic ratings of the size of MovieLens 20M (138,493 users, 26,744 items, popularity falling as in a long tail), the
recipe `fast` at batches of 65,536. The memory is the most that was ever resident, imported
libraries included. On a machine that others use too, the CPU seconds say more. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cofactor_trainer.dataset import Catalogue, RatingsDataset
from cofactor_trainer.recipes import RECIPES
from cofactor_trainer.training import train

N_USERS, N_ITEMS = 138_493, 26_744
MAX_SECONDS, MAX_GB = 8.0, 1.0


def synthetic(n_ratings: int) -> RatingsDataset:
    """Half-star ratings from two biases and noise."""
    random = np.random.default_rng(0)
    users = random.integers(0, N_USERS, n_ratings)
    items = (N_ITEMS * random.random(n_ratings, dtype=np.float32) ** 3).astype(np.int64)
    ratings = random.standard_normal(n_ratings, dtype=np.float32)
    ratings += random.standard_normal(N_USERS, dtype=np.float32)[users] / 2
    ratings += random.standard_normal(N_ITEMS, dtype=np.float32)[items] / 2
    ratings = np.clip(np.round(ratings * 2 + 7) / 2, 0.5, 5, dtype=np.float32)
    catalogue = Catalogue(range(N_ITEMS), range(N_ITEMS), (), np.zeros(N_ITEMS, np.int64))
    return RatingsDataset("synthetic", range(N_USERS), catalogue, users, items, ratings, None, 0.5, 5.0)


def resident_gb() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ratings", type=int, default=20_000_000, metavar="N")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--epochs", type=int, default=2, metavar="N")
    parser.add_argument("--output", type=Path, metavar="FILE", help="Markdown to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    imported = resident_gb()
    dataset = synthetic(arguments.ratings)
    generated = resident_gb()
    recipe = replace(RECIPES["fast"], batch_size=65_536, epochs=arguments.epochs)
    before = time.process_time()
    history = train(dataset, None, recipe).history
    cpu_seconds = (time.process_time() - before) / arguments.epochs
    seconds, trained = min(epoch.seconds for epoch in history), resident_gb()
    text = (
        "# Training at scale\n\n"
        "| ratings | users x items | threads | seconds an epoch (best) | CPU seconds an epoch | resident GB: torch "
        "imported | ratings made | trained |\n|---|---|---|---|---|---|---|---|\n"
        f"| {arguments.ratings:,} | {N_USERS:,} x {N_ITEMS:,} | {arguments.threads} | {seconds:.1f} | "
        f"{cpu_seconds:.1f} | {imported:.2f} | {generated:.2f} | {trained:.2f} |\n\n"
        f"50 factors, batches of 65,536, torch {torch.__version__}, {os.cpu_count()} CPU cores ({platform.machine()}): "
        f"`python benchmarks/training_scale.py --ratings {arguments.ratings} --threads {arguments.threads}`\n"
    )
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    missed = [f"{seconds:.1f} s an epoch, not {MAX_SECONDS:g}"] * (seconds > MAX_SECONDS)
    missed += [f"{trained:.2f} GB, not {MAX_GB:g}"] * (trained > MAX_GB)
    for bar in missed:
        print(f"missed: {bar}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
