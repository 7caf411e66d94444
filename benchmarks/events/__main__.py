"""Measure how well versions that learnt from events order items, beside popularity, implicit and EASE.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.events [--quick] [--seeds 42 43 44 45 46] [--movielens FOLDER]
        [--output docs/benchmarks/events.md]

COFACTOR_LASTFM2K names the folder of user_artists.dat of the HetRec 2011 last.fm data, COFACTOR_ML100K that of
MovieLens 100k, whose ratings from 4 on become events; --movielens takes another MovieLens, such as 1M, in the place of
100k. --quick takes split 42 only. The exit status is 1 if a target is
missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from benchmarks.datasets import lastfm_2k_folder, ml_100k_folder
from benchmarks.events.recipe import OURS, ours
from benchmarks.events.rows import FEWEST_LISTENERS, Fit, PeerSettings, peers
from benchmarks.ranking import Measured, paired_difference, processor_seconds
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.events.feedback import EventSettings
from cofactor_trainer.data.events.files import read_events
from cofactor_trainer.data.events.from_ratings import events_from_ratings
from cofactor_trainer.data.events.splits import split_events
from cofactor_trainer.data.movielens import load_100k, load_folder
from cofactor_trainer.data.splits import Split, per_user_mask, time_mask
from cofactor_trainer.evaluation.baselines import fit_popularity, fit_recent_popularity
from cofactor_trainer.evaluation.evaluate import judge_recommendations
from cofactor_trainer.evaluation.metrics import ndcg_by_user, ranking_metrics

NDCG_TARGET = 0.255
DAY = 86_400
HALF_LIFE_DAYS = 90
# The latest parts of MovieLens that are held out in turn, and the seeds of the trainings on the rest.
LATEST, TRAINING_SEEDS = (0.1, 0.2, 0.3), (1, 2, 3)
# Tuned on split 7 of each data set.
LASTFM_PEERS = PeerSettings(96, 30.0, 0.005, 300, 200, 3000)
MOVIELENS_PEERS = PeerSettings(64, 10.0, 0.01, 100, 200, 300)
HEAD = "| | NDCG@10 | Recall@10 | MRR | coverage | Cofactor less this | seconds |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Table:
    """Lines of a table, and what the rows reached."""

    lines: tuple[str, ...]
    measured: Mapping[str, Measured]


def measure(fit: Fit, splits: Sequence[Split]) -> Measured:
    """Train on every split and judge the recommendations; users are numbered by their id."""
    started = processor_seconds()
    models = [fit(split) for split in splits]
    seconds = (processor_seconds() - started) / len(splits)
    measures, ndcg, users = [], [], []
    for model, split in zip(models, splits, strict=True):
        judged = judge_recommendations(model, split)
        metrics = ranking_metrics(judged.item_rows, judged.hits, judged.n_relevant, split.train.item_rating_counts())
        measures.append({name: getattr(metrics, name) for name in ("ndcg", "recall", "mrr", "coverage")})
        ndcg.append(ndcg_by_user(judged.hits, judged.n_relevant))
        users.append(np.array([int(split.train.user_ids[user]) for user in judged.user_rows]))
    means = {name: float(np.mean([of_split[name] for of_split in measures])) for name in measures[0]}
    return Measured(means, np.concatenate(ndcg), np.concatenate(users), seconds)


def compare(fits: Mapping[str, Fit], splits: Mapping[str, Sequence[Split]]) -> Table:
    """Measure every row on its splits, the rows of ``splits`` or those of "" for all others; the first row is ours."""
    measured = {}
    for title, fit in fits.items():
        measured[title] = measure(fit, splits.get(title, splits[""]))
        print(f"{title}: NDCG@10 {measured[title].means['ndcg']:.4f}", flush=True)
    first = next(iter(measured.values()))
    lines = []
    for title, of_row in measured.items():
        mean, half = paired_difference(first, of_row)
        difference = "" if of_row is first else f"{mean:+.4f} ± {half:.4f}"
        figures = " | ".join(f"{of_row.means[name]:.4f}" for name in ("ndcg", "recall", "mrr", "coverage"))
        lines.append(f"| {title} | {figures} | {difference} | {of_row.seconds:.1f} |")
    return Table(tuple(lines), measured)


def per_user_splits(events: RatingsDataset, seeds: Sequence[int]) -> list[Split]:
    """Hold out a random 20 % of each user's items, once per seed."""
    return [split_events(events, partial(per_user_mask, fraction=0.2, seed=seed), by_pair=True) for seed in seeds]


def lastfm(seeds: Sequence[int]) -> Table:
    """Compare on plays: ours sees every artist of a user once, the others see log(1 + plays)."""
    path = lastfm_2k_folder() / "user_artists.dat"
    equal = per_user_splits(read_events(path), seeds)
    logs = per_user_splits(read_events(path, settings=EventSettings(log_weights=True)), seeds)
    return compare({OURS: ours, **peers(LASTFM_PEERS)}, {OURS: equal, "": logs})


def films(folder: Path | None) -> RatingsDataset:
    """Load the MovieLens of a folder; None for MovieLens 100k."""
    return load_100k(ml_100k_folder(), by_title=True) if folder is None else load_folder(folder)


def movielens(ratings: RatingsDataset, seeds: Sequence[int]) -> Table:
    """Compare on ratings from 4 on, as events of the same weight."""
    events = events_from_ratings(ratings, 4)
    return compare({OURS: ours, **peers(MOVIELENS_PEERS)}, {"": per_user_splits(events, seeds)})


def half_life(ratings: RatingsDataset) -> Table:
    """Compare trainings with and without a half-life on the latest events of MovieLens."""

    def splits(days: float) -> list[Split]:
        events = events_from_ratings(ratings, 4, EventSettings(half_life=days * DAY))
        return [split_events(events, partial(time_mask, fraction=share), by_pair=False) for share in LATEST]

    decayed, plain = splits(HALF_LIFE_DAYS), splits(0)
    with_decay = f"{OURS}, half-life {HALF_LIFE_DAYS} days"
    fits: dict[str, Fit] = {
        with_decay: ours,
        "the same without a half-life": ours,
        "popularity": lambda split: fit_popularity(split.train),
        "popularity of the latest 10 %": lambda split: fit_recent_popularity(split.train),
    }
    return compare(_with_seeds(fits), {with_decay: _repeated(decayed), "": _repeated(plain)})


def _with_seeds(fits: Mapping[str, Fit]) -> dict[str, Fit]:
    """Train ours with the next seed on every split."""
    return {title: _next_seeds() if fit is ours else fit for title, fit in fits.items()}


def _next_seeds() -> Fit:
    seeds = iter([seed for seed in TRAINING_SEEDS for _ in LATEST])
    return lambda split: ours(split, next(seeds))


def _repeated(splits: Sequence[Split]) -> list[Split]:
    return [*splits] * len(TRAINING_SEEDS)


def check_targets(plays: Table, latest: Table) -> tuple[list[str], bool]:
    """Return a line for every target, and True if all are met."""
    own = plays.measured[OURS]
    checks = [("NDCG@10 on last.fm", own.means["ndcg"], NDCG_TARGET)]
    for title, of_row in plays.measured.items():
        if of_row is not own:
            mean, half = paired_difference(own, of_row)
            checks.append((f"above {title} on last.fm, low end of the interval", mean - half, 0.0))
    with_decay, plain = list(latest.measured.values())[:2]
    mean, half = paired_difference(with_decay, plain)
    checks.append(("half-life above none, low end of the interval", mean - half, 0.0))
    lines = [
        f"| {name} | {value:.4f} | {bound:g} | {'met' if value >= bound else '**missed**'} |"
        for name, value, bound in checks
    ]
    return lines, all(value >= bound for _, value, bound in checks)


def main() -> int:
    """Train and judge every row; print the tables and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44, 45, 46], help="seeds of the splits")
    parser.add_argument("--quick", action="store_true", help="split 42 only")
    parser.add_argument("--movielens", type=Path, metavar="FOLDER", help="another MovieLens than 100k")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [42] if arguments.quick else arguments.seeds
    ratings = films(arguments.movielens)
    plays, likes, latest = lastfm(seeds), movielens(ratings, seeds), half_life(ratings)
    verdicts, met = check_targets(plays, latest)
    print("\n".join([*plays.lines, "", *likes.lines, "", *latest.lines, "", *verdicts]))
    if arguments.output is not None:
        arguments.output.write_text(document(ratings.name, plays, likes, latest, verdicts, seeds), encoding="utf-8")
    print("targets:", "met" if met else "MISSED")
    return int(not met)


def document(
    name: str, plays: Table, likes: Table, latest: Table, verdicts: Sequence[str], seeds: Sequence[int]
) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.events", *sys.argv[1:]])
    n_users = len(np.unique(next(iter(latest.measured.values())).users))
    tables = ("\n".join(part) for part in (plays.lines, likes.lines, latest.lines, verdicts))
    play_lines, film_lines, latest_lines, targets = tables
    named_seeds, named_trainings = (", ".join(map(str, numbers)) for numbers in (seeds, TRAINING_SEEDS))
    return f"""# Events

Recommendations of versions that learnt from events, beside other ways to learn from the same events. Every held-out
event is relevant, and every item that the user has no event of in the train part is a candidate. The first 10
recommendations count. All figures are means over the users who have an item held out.

- "Cofactor less this" is the difference in NDCG@10 with its 95 % interval: all splits pooled, users as units.
- Seconds are the processor time that one thread needs to train.
- Everything but the half-life was tuned on split 7, which is not in the tables.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

## Plays of artists: last.fm

1,892 users, 17,632 artists, 92,834 pairs with the number of plays (HetRec 2011). A random 20 % of each user's artists
is held out, seeds {named_seeds}. Cofactor reads the file with its default settings, in which every artist of a user
weighs the same, however often it was played. ALS, BM25 and EASE see log(1 + plays); BPR knows no weights. EASE leaves
out artists with fewer than {FEWEST_LISTENERS} listeners.

{HEAD}
{play_lines}

## Films: {name}

Ratings from 4 on are events (`--positive-from 4`); films that were rated lower are no candidates. A random 20 % of each
user's ratings is held out, the same seeds.

{HEAD}
{film_lines}

## Does age count?

{name} again. The latest 10, 20 and 30 % of all events are held out in turn, and each part before them trains
three times, with seeds {named_trainings}. Only {n_users} users have events both before and after one of these moments,
because most people rated on one day: the interval is wide. The half-life was chosen on the part of 20 %, from 7, 30 and
90 days, so the figure is a little too good.

{HEAD}
{latest_lines}

## Targets

| | value | target | |
|---|---|---|---|
{targets}
"""


if __name__ == "__main__":
    sys.exit(main())
