"""Time to fastai's published error, fastai beside us in the same run, both on one thread.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.fastai_race [--output docs/benchmarks/fastai.md]

fastai trains its collab_learner as published: 50 factors, weight decay 0.1, 5 epochs of one-cycle at 5e-3, batches of
64. We train the recipe `fast`. Both get the same 80 % of MovieLens 100k by title, split 42. fastai 2.8 draws its epochs
with replacement (TabularCollab names no loader of its own), which costs 0.04: it is given TabDataLoader, with which it
reaches what was published. The two take turns, and the best time of each counts: on a busy machine the rest measures
the neighbours. Exits with 1 where a bar is missed.
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

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import Split, random_split
from cofactor_trainer.evaluation.evaluate import evaluate_ratings
from cofactor_trainer.training.train import train

FOLDER = Path(os.environ.get("COFACTOR_ML100K", Path(__file__).parents[2] / "shared/data/ml-100k"))
ERROR_BAR, SECONDS_BAR, FACTOR_BAR = 0.8113, 1.0, 30.0
Measured = tuple[float, float, float]


def race_ours(split: Split) -> Measured:
    """Error, seconds by the clock, seconds of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    model = train(split.train, None, RECIPES["fast"], seed=1).model
    spent = time.perf_counter() - clock, time.process_time() - processor
    return evaluate_ratings(model, split).mse, *spent


def race_fastai(split: Split) -> Measured:
    """The same of fastai; only its fit is timed."""
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
    """Race, print, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    split = random_split(load_100k(FOLDER, by_title=True), 0.2, 42)
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
    met = error <= ERROR_BAR and processor <= SECONDS_BAR and their_processor / processor >= FACTOR_BAR
    print("bars:", "met" if met else "MISSED")
    return int(not met)


def document(lines: list[str]) -> str:
    """The page."""
    import fastai

    command = " ".join(["python", "benchmarks/fastai_race.py", *sys.argv[1:]])
    return (
        f"""# Beside fastai {fastai.__version__}

MovieLens 100k by title, split 42, 5 epochs as published for fastai, one thread each, taking turns, the best of the
rounds. The bars: an error of at most {ERROR_BAR} within {SECONDS_BAR:g} s of processor time, {FACTOR_BAR:g} times as
fast as fastai.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

| | MSE | seconds by the clock | seconds of processor time |
|---|---|---|---|
"""
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
