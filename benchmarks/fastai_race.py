"""Race fastai to its published error in the same run, both on one thread.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.fastai_race [--output docs/benchmarks/fastai.md]

fastai trains its collab_learner as published: 50 factors, weight decay 0.1, 5 epochs of one-cycle at 5e-3, batches of
64. Cofactor trains the recipe `fast`. Both get the same 80 % of MovieLens 100k with one item per title, split 42.
COFACTOR_ML100K names the folder of the data.

fastai 2.8 draws its epochs with replacement, because TabularCollab names no loader of its own; that costs it 0.04. This
script gives it TabDataLoader, with which it reaches its published error. The two take turns and the best time of each
counts, because slower rounds measure the other programs of a busy machine. The exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import torch

from benchmarks.datasets import ml_100k_folder
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import Split, random_split
from cofactor_trainer.evaluation.evaluate import evaluate_ratings
from cofactor_trainer.training.train import train

ERROR_TARGET, SECONDS_TARGET, FACTOR_TARGET = 0.8113, 1.0, 30.0
Measured = tuple[float, float, float]


def race_ours(split: Split) -> Measured:
    """Train the recipe `fast`; return its error, seconds by the clock and seconds of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    model = train(split.train, None, RECIPES["fast"], seed=1).model
    spent = time.perf_counter() - clock, time.process_time() - processor
    return evaluate_ratings(model, split).mse, *spent


def race_fastai(split: Split) -> Measured:
    """Train fastai's collab_learner; return the same figures. Only its fit is timed."""
    from fastai.collab import CollabDataLoaders, TabularCollab, collab_learner
    from fastai.data.transforms import IndexSplitter
    from fastai.tabular.core import TabDataLoader

    TabularCollab._dl_type = TabDataLoader
    parts = (split.train, split.validation)
    columns = [
        np.concatenate([getattr(part, name) for part in parts]) for name in ("user_rows", "item_rows", "ratings")
    ]
    frame = pd.DataFrame(dict(zip(("user", "item", "rating"), columns, strict=True)))
    held_out = list(range(split.train.n_ratings, len(frame)))
    loaders = CollabDataLoaders.from_df(
        frame, user_name="user", item_name="item", rating_name="rating", splitter=IndexSplitter(held_out), bs=64
    )
    learner = collab_learner(loaders, n_factors=50, y_range=(0, 5.5))
    clock, processor = time.perf_counter(), time.process_time()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(5, 5e-3, wd=0.1)
    spent = time.perf_counter() - clock, time.process_time() - processor
    with learner.no_bar():
        return float(learner.validate()[0]), *spent


def main() -> int:
    """Run every round; print the table and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    split = random_split(load_100k(ml_100k_folder(), by_title=True), 0.2, 42)
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(race_ours(split))
        theirs.append(race_fastai(split))
        print("ours", ours[-1], "fastai", theirs[-1], flush=True)
    error = ours[0][0]
    (clock, processor), (their_clock, their_processor) = (
        tuple(min(one[part] for one in rounds) for part in (1, 2)) for rounds in (ours, theirs)
    )
    lines = [
        f"| recipe `fast` | {error:.4f} | {clock:.2f} | {processor:.2f} |",
        f"| fastai | {min(one[0] for one in theirs):.4f} | {their_clock:.1f} | {their_processor:.1f} |",
        f"| times as fast | | {their_clock / clock:.0f} | {their_processor / processor:.0f} |",
    ]
    print("\n".join(lines))
    if arguments.output is not None:
        arguments.output.write_text(document(lines), encoding="utf-8")
    met = error <= ERROR_TARGET and processor <= SECONDS_TARGET and their_processor / processor >= FACTOR_TARGET
    print("targets:", "met" if met else "MISSED")
    return int(not met)


def document(lines: list[str]) -> str:
    """Return the page."""
    import fastai

    command = " ".join(["python -m benchmarks.fastai_race", *sys.argv[1:]])
    return (
        f"""# Beside fastai {fastai.__version__}

MovieLens 100k with one item per title, split 42. fastai trains 5 epochs, as published. Each has one thread; they take
turns, and the best round counts. Targets for `fast`: an error of at most {ERROR_TARGET} within {SECONDS_TARGET:g} s of
processor time, {FACTOR_TARGET:g} times as fast as fastai.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

| | MSE | seconds by the clock | seconds of processor time |
|---|---|---|---|
"""
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
