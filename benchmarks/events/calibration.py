"""Measure the probabilities of interaction on events that neither training nor calibration saw.

    python -m benchmarks.events.calibration [--seeds 42 43 44] [--lastfm-seeds 42]
        [--output docs/benchmarks/probabilities.md]

COFACTOR_LASTFM2K and COFACTOR_ML100K name the folders of the data. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from benchmarks.datasets import lastfm_2k_folder, ml_100k_folder
from benchmarks.events.recipe import ours
from cofactor_trainer.data.dataset import Pairs, RatingsDataset
from cofactor_trainer.data.events.files import read_events
from cofactor_trainer.data.events.from_ratings import events_from_ratings
from cofactor_trainer.data.events.splits import split_events
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import Split, random_mask, rows_by_id, time_mask
from cofactor_trainer.evaluation.calibration import (
    SHOWN,
    CandidatePairs,
    Reliability,
    find_candidates,
    fit_curve,
    measure_reliability,
)
from cofactor_trainer.export.fitted.folded_users import FoldedUsers
from cofactor_trainer.export.fitted.probabilities import calibrate
from cofactor_trainer.scoring.numpy_scorer import score_all
from cofactor_trainer.scoring.trained_model import TrainedModel

NEW_USER_SHARE, HELD_OUT = 0.1, 0.2
# The error of the first ten that users of the training data may have.
ERROR_TARGET = 0.03
ALL_USERS = "known users, by the curve of known users"
NEW_USERS = "new users, by the curve of new users"
WRONG_CURVE = "new users, by the curve of known users"
SCORE_ALONE = "known users, by the score alone"
AGAIN = "known users, calibrated on a fifth of the rest and trained again"
BY_TIME = "known users, the latest fifth, calibrated on the latest fifth before it"


@dataclass(frozen=True)
class Judged:
    """Probabilities of the first ten items of users, and which of them came true, each (m,)."""

    probabilities: np.ndarray
    is_hit: np.ndarray

    @property
    def reliability(self) -> Reliability:
        """Return the groups of similar probabilities."""
        return measure_reliability(self.probabilities, self.is_hit)

    @property
    def noise(self) -> float:
        """Return the error that probabilities without any error would show on this many items."""
        random = np.random.default_rng(0)
        draws = [random.random(len(self.probabilities)) < self.probabilities for _ in range(20)]
        return float(np.mean([measure_reliability(self.probabilities, draw).error for draw in draws]))

    @property
    def brier(self) -> tuple[float, float]:
        """Return the mean squared error, and that of the base rate for all items."""
        base = self.is_hit.mean()
        return float(np.square(self.probabilities - self.is_hit).mean()), float(base * (1 - base))


def without_new_users(events: RatingsDataset, seed: int) -> tuple[RatingsDataset, RatingsDataset]:
    """Set a tenth of the users aside: the events of the others, and those of these."""
    random = np.random.default_rng(seed)
    is_new = np.zeros(events.n_users, bool)
    is_new[random.permutation(events.n_users)[: int(events.n_users * NEW_USER_SHARE)]] = True
    of_new = is_new[events.user_rows]
    return tuple(
        replace(
            events.select_ratings(chosen),
            user_ids=[events.user_ids[row] for row in np.flatnonzero(users)],
            user_rows=(np.cumsum(users) - 1)[events.user_rows[chosen]].astype(np.int32),
            profiles=None,
        )
        for chosen, users in ((~of_new, ~is_new), (of_new, is_new))
    )  # type: ignore[return-value]


def in_items_of(histories: RatingsDataset, train: RatingsDataset) -> RatingsDataset:
    """Number the items as a train part does, and leave out those that it lacks."""
    rows, dismissed = rows_by_id(histories.catalogue.item_ids, train.catalogue.item_ids), histories.dismissed
    if dismissed is not None:
        items = rows[dismissed.item_rows]
        dismissed = Pairs(dismissed.user_rows[items < train.n_items], items[items < train.n_items])
    item_rows = rows[histories.item_rows]
    numbered = replace(histories, catalogue=train.catalogue, item_rows=item_rows, dismissed=dismissed)
    return numbered.select_ratings(item_rows < train.n_items)


def held_out(events: RatingsDataset, seed: int) -> Split:
    """Hold out a random fifth of the pairs of a user and an item."""
    return split_events(events, partial(random_mask, fraction=HELD_OUT, seed=seed), by_pair=True)


def run(events: RatingsDataset, seed: int) -> dict[str, Judged]:
    """Judge curves on held-out events of users that took no part in fitting them."""
    rest, of_new_users = without_new_users(events, seed)
    test_mask = _pair_mask(rest, seed)
    test = split_events(rest, lambda _: test_mask, by_pair=False)
    model = ours(test)
    users = np.arange(test.train.n_users)
    known = find_candidates(model, test, users, model.order)
    results = {ALL_USERS: judge_halves(known), SCORE_ALONE: judge_halves(with_scores_alone(known, model, test))}
    calibration, _ = calibrate(model, test, "")
    assert calibration is not None
    new = new_user_candidates(model, test, of_new_users, seed)
    results[NEW_USERS] = Judged(*new.judge(calibration.new_users))
    results[WRONG_CURVE] = Judged(*new.judge(calibration.known_users))
    results[AGAIN] = trained_again(rest.select_ratings(~test_mask), known, seed)
    return results


def judge_halves(pairs: CandidatePairs) -> Judged:
    """Fit a curve on each half of the users, and judge the other half by it."""
    is_first = np.random.default_rng(0).random(len(pairs.n_items)) < 0.5
    parts = []
    for half in (is_first, ~is_first):
        curve = fit_curve(pairs.select(half))
        assert curve is not None
        parts.append(pairs.select(~half).first(SHOWN).judge(curve))
    return Judged(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def trained_again(learnt: RatingsDataset, known: CandidatePairs, seed: int) -> Judged:
    """Calibrate on a fifth of what a model learnt, before it learnt that too, and judge its test events."""
    split = held_out(learnt, seed + 1)
    first = ours(split)
    curve = fit_curve(find_candidates(first, split, np.arange(split.train.n_users), first.order))
    assert curve is not None
    return Judged(*known.first(SHOWN).judge(curve))


def by_time(events: RatingsDataset) -> Judged:
    """Do the same with the latest fifth of all events as the test, calibrated on the latest fifth before it."""
    test_mask = time_mask(events, HELD_OUT)
    test = split_events(events, lambda _: test_mask, by_pair=False)
    model = ours(test)
    split = split_events(events.select_ratings(~test_mask), partial(time_mask, fraction=HELD_OUT), by_pair=False)
    first = ours(split)
    curve = fit_curve(find_candidates(first, split, np.arange(split.train.n_users), first.order))
    assert curve is not None
    return Judged(*find_candidates(model, test, np.arange(test.train.n_users), model.order, SHOWN).judge(curve))


def _pair_mask(events: RatingsDataset, seed: int) -> np.ndarray:
    """Mark a random fifth of the wanted pairs; the tables of this script have one event of every pair."""
    return random_mask(events, HELD_OUT, seed) & (events.ratings > 0)


def new_user_candidates(model: TrainedModel, test: Split, of_new_users: RatingsDataset, seed: int) -> CandidatePairs:
    """Fold in the users that were set aside from four fifths of their events, and find their best items."""
    parts = held_out(of_new_users, seed)
    users = np.arange(parts.train.n_users)
    numbered = Split(in_items_of(parts.train, test.train), in_items_of(parts.validation, test.train))
    folded = FoldedUsers(model, test.train).fold_in(numbered.train, users)
    return find_candidates(folded, numbered, users, model.new_user_order, SHOWN)


def with_scores_alone(pairs: CandidatePairs, model: TrainedModel, split: Split) -> CandidatePairs:
    """Put the plain scores in the place of the shares, and leave out the activity: Platt's own curve."""
    highest = np.array([_best_unseen(model, split, user) for user in range(split.train.n_users)])
    scores = pairs.log_shares - pairs.log_shares[:, :1] + highest[:, None]
    return replace(pairs, log_shares=scores, n_items=np.zeros_like(pairs.n_items))


def _best_unseen(model: TrainedModel, split: Split, user: int) -> float:
    scores = score_all(model, np.array([user]), model.order)[0]
    parts = [split.train] if split.train.dismissed is None else [split.train, split.train.dismissed]
    scores[np.concatenate([part.item_rows[part.user_rows == user] for part in parts])] = -np.inf
    return float(scores.max())


def pooled(runs: Sequence[dict[str, Judged]]) -> dict[str, Judged]:
    """Join the runs of all seeds."""
    return {
        name: Judged(
            np.concatenate([run[name].probabilities for run in runs]),
            np.concatenate([run[name].is_hit for run in runs]),
        )
        for name in runs[0]
    }


def table(results: dict[str, Judged]) -> str:
    """Return the errors as a table."""
    lines = [
        "| first ten items of | mean probability | share that came true | calibration error | without any error | "
        "squared error | that of the base rate | items |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, judged in results.items():
        squared, base = judged.brier
        lines.append(
            f"| {name} | {judged.probabilities.mean():.4f} | {judged.is_hit.mean():.4f} | "
            f"{judged.reliability.error:.4f} | {judged.noise:.4f} | {squared:.4f} | {base:.4f} | "
            f"{len(judged.is_hit):,} |"
        )
    return "\n".join(lines)


def bins(judged: Judged) -> str:
    """Return the groups of similar probabilities as a table."""
    groups = judged.reliability
    cells = zip(groups.predicted, groups.observed, groups.counts, strict=True)
    lines = ["| mean probability | share that came true | items |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {predicted:.3f} | {observed:.3f} | {count:,} |" for predicted, observed, count in cells)]
    )


def main() -> int:
    """Measure on both data sets; print the tables and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="seeds on MovieLens")
    parser.add_argument("--lastfm-seeds", type=int, nargs="+", default=[42], help="seeds on last.fm")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loads: dict[str, tuple[Callable[[], RatingsDataset], list[int]]] = {
        "Films: MovieLens 100k, ratings from 4 on": (
            lambda: events_from_ratings(load_100k(ml_100k_folder(), by_title=True), 4),
            arguments.seeds,
        ),
        "Plays of artists: last.fm": (
            lambda: read_events(lastfm_2k_folder() / "user_artists.dat"),
            arguments.lastfm_seeds,
        ),
    }
    measured = {}
    for title, (load, seeds) in loads.items():
        events = load()
        measured[title] = pooled([run(events, seed) for seed in seeds])
        if events.timestamps is not None:
            measured[title][BY_TIME] = by_time(events)
        print(f"{title}\n{table(measured[title])}\n{bins(measured[title][ALL_USERS])}\n", flush=True)
    errors = {title: of_data[ALL_USERS].reliability.error for title, of_data in measured.items()}
    met = all(error <= ERROR_TARGET for error in errors.values())
    if arguments.output is not None:
        seeds = (", ".join(map(str, numbers)) for numbers in (arguments.seeds, arguments.lastfm_seeds))
        arguments.output.write_text(document(measured, *seeds), encoding="utf-8")
    print("targets:", "met" if met else "MISSED")
    return int(not met)


def document(measured: dict[str, dict[str, Judged]], seeds: str, lastfm_seeds: str) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.events.calibration", *sys.argv[1:]])
    verdicts = "\n".join(
        f"| {title} | {of_data[ALL_USERS].reliability.error:.4f} | {ERROR_TARGET:g} | "
        f"{'met' if of_data[ALL_USERS].reliability.error <= ERROR_TARGET else '**missed**'} |"
        for title, of_data in measured.items()
    )
    sections = "\n\n".join(
        f"## {title}\n\n{table(of_data)}\n\nThe known users in ten groups of equal size:\n\n{bins(of_data[ALL_USERS])}"
        for title, of_data in measured.items()
    )
    return f"""# Probabilities of interaction

How far the probabilities of `return_probabilities` are from what happens, for the first ten recommendations of every
user. A tenth of the users is set aside as new users. A random fifth of the pairs of the others is held out. A curve
is fitted on the held-out events of one half of the users and judged on those of the other half, and the other way
round. New users are folded in from four fifths of their events and judged on the others; the curve is that of the known
users. So neither training nor the curve saw the events that judge it.

- The calibration error is the mean distance of probability and share that came true, over ten groups of equal size.
  "Without any error" is what perfect probabilities would show on as many items, by chance.
- The squared error is the Brier score. Below that of the base rate, the probabilities tell items apart.
- "By the score alone" is Platt's curve of the score, fitted on the same events.
- MovieLens: splits {seeds}; last.fm: splits {lastfm_seeds}, pooled.

`{command}` on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.

{sections}

## What they do not say

A probability is that of being in the held-out part, as the table is. "Trained again" puts that to the test: the table
without its test events goes through `cofactor-train`, and the test events are then all that is left of each user. While
the curve was fitted they were among the misses, so the curve says less than what happens. In service more
events follow, too, and how many is not known beforehand. "The latest fifth" is the future of all users, of whom most
never come back in MovieLens 100k.

Compare probabilities of items and users with each other, and set thresholds by what you measure. For a forecast
of a period train with `--split time`, and look at the last row first.

## Targets

| calibration error of known users | value | at most | |
|---|---|---|---|
{verdicts}
"""


if __name__ == "__main__":
    sys.exit(main())
