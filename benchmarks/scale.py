"""Measure time and memory of training on 20 million synthetic ratings with two threads.

    python -m benchmarks.scale [--ratings 20000000] [--output docs/benchmarks/scale.md]

138,000 users rate 27,000 items; the model has 50 factors. Popularity of items and activity of users follow a power
law. The ratings have a planted structure of rank 4, so a falling loss shows that the model learns. The exit status is 1
if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.training.train import train

N_USERS, N_ITEMS, RANK = 138_000, 27_000, 4
SECONDS_TARGET, GIGABYTES_TARGET = 8.0, 1.0
# A program that loads libraries and prints how much resident memory that takes, KiB.
LOAD = """
import ctypes, sys
def resident(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = resident()
for path in sys.argv[1:]: ctypes.CDLL(path)
print(resident() - before)
"""
CHUNK = 1 << 20


def synthetic(n_ratings: int) -> RatingsDataset:
    """Return random half-star ratings; they are made in chunks, so that memory peaks at the size of the result."""
    random = np.random.default_rng(0)
    user_rows, item_rows = np.empty(n_ratings, np.int32), np.empty(n_ratings, np.int32)
    ratings = np.empty(n_ratings, np.float32)
    user_taste = random.normal(0, 0.5, (N_USERS, RANK)).astype(np.float32)
    item_taste = random.normal(0, 0.8, (N_ITEMS, RANK)).astype(np.float32)
    for start in range(0, n_ratings, CHUNK):
        part = slice(start, min(start + CHUNK, n_ratings))
        size = part.stop - part.start
        users = (N_USERS * random.random(size) ** 2).astype(np.int64)
        items = (N_ITEMS * random.random(size) ** 3).astype(np.int64)
        logits = (user_taste[users] * item_taste[items]).sum(1) + random.normal(0, 0.8, size)
        user_rows[part], item_rows[part] = users, items
        ratings[part] = np.clip(np.round(2 * (3.5 + logits)) / 2, 0.5, 5)
    ids = [f"{row:06}" for row in range(N_USERS)]
    catalogue = Catalogue(ids[:N_ITEMS], [""] * N_ITEMS, [()] * N_ITEMS, np.zeros(N_ITEMS, np.int64))
    return RatingsDataset("synthetic", ids, catalogue, user_rows, item_rows, ratings, None, 0.5, 5.0)


def peak_gigabytes() -> float:
    """Return the peak resident memory of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def cuda_gigabytes() -> float:
    """Return the memory of the CUDA libraries that torch has loaded, used or not; 0 for a torch built for CPUs."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()}
    libraries = sorted(path for path in mapped if "/nvidia/" in path)
    return int(subprocess.check_output([sys.executable, "-c", LOAD, *libraries])) * 1024 / 1e9


def main() -> int:
    """Train two epochs and measure the faster one: the first also touches its memory for the first time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ratings", type=int, default=20_000_000, help="number of ratings")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    recipe = replace(RECIPES["fast"], epochs=2, batch_size=65_536, learning_rate=5e-2)
    libraries = peak_gigabytes()
    dataset = synthetic(arguments.ratings)
    processor = time.process_time()
    result = train(dataset, None, recipe)
    processor = (time.process_time() - processor) / recipe.epochs
    seconds = min(epoch.seconds for epoch in result.history)
    gigabytes = peak_gigabytes()
    losses = " then ".join(f"{epoch.train_loss:.3f}" for epoch in result.history)
    own = f"{gigabytes - libraries:.2f}"
    row = f"| {seconds:.1f} | {processor:.1f} | {gigabytes:.2f} | {cuda_gigabytes():.2f} | {own} | {losses} |"
    targets = (("time", seconds, SECONDS_TARGET), ("memory", gigabytes, GIGABYTES_TARGET))
    verdict = ", ".join(f"{name} {'met' if got <= target else 'missed'} ({got:.2f})" for name, got, target in targets)
    print(row, verdict, sep="\n")
    if arguments.output is not None:
        arguments.output.write_text(document(row, verdict, arguments.ratings), encoding="utf-8")
    return int("missed" in verdict)


def document(row: str, verdict: str, n_ratings: int) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.scale", *sys.argv[1:]])
    return f"""# {n_ratings:,} ratings

Synthetic ratings of {N_ITEMS:,} items by {N_USERS:,} users; 50 factors, batches of 65,536, two threads. Targets:
{SECONDS_TARGET:g} s per epoch and {GIGABYTES_TARGET:g} GB (10^9 bytes), including the data, the interpreter and all
libraries. Result: {verdict}. A torch built for CUDA loads the CUDA libraries even if it trains on a CPU.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

| seconds per epoch | processor seconds per epoch | peak GB | CUDA libraries | beyond all libraries | train loss |
|---|---|---|---|---|---|
{row}
"""


if __name__ == "__main__":
    sys.exit(main())
