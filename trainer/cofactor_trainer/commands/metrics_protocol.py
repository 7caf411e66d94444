"""Say how metrics were measured: on which ratings, and what counts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.splits import Split
from cofactor_trainer.evaluation.evaluate import relevance_threshold
from cofactor_trainer.export.held_out_measures import n_sampled_users
from cofactor_trainer.export.version_writer import MetricsProtocol

# With more users times items, rankings are measured on a sample of the users. MovieLens 25M has 9.6 billion.
MOST_SCORES = 10_000_000_000


def describe_protocol(arguments: argparse.Namespace, split: Split | None, *, refitted: bool) -> MetricsProtocol:
    """Describe how the metrics were measured and what the exported model was trained on.

    Args:
        arguments: flags of the split.
        split: the ratings; None if none were held out.
        refitted: True if the exported model was trained again on all ratings.
    """
    if split is None:
        return MetricsProtocol("measured on the ratings that the model was trained on", refitted=False)
    n_held_out, noun = split.validation.n_ratings, noun_of(split.train)
    n_ratings = n_held_out + split.train.n_ratings
    if refitted and split.train.events is not None:
        # Of all events more pairs can be dismissed than of each part.
        trained_on = "the exported model was then trained on all events"
    elif refitted:
        trained_on = f"the exported model was then trained on all {n_ratings:,}"
    else:
        trained_on = f"the exported model was trained on the other {split.train.n_ratings:,}"
    chosen = describe_choice(arguments, split)
    rated = split.validation.rated
    errors = "" if rated is None else f" (the errors on the {rated.n_ratings:,} ratings among them)"
    sample = f", the order for a sample of {n_sampled_users(split):,} users" if is_sampled(split) else ""
    text = f"measured on {n_held_out:,} of {n_ratings:,} {noun}{errors}, {chosen}{sample}; {trained_on}"
    return MetricsProtocol(text, refitted)


def describe_probability(arguments: argparse.Namespace, split: Split) -> str:
    """Say what the probabilities of a version are of that were calibrated on the held-out events of a split."""
    n_held_out, noun = split.validation.n_ratings, noun_of(split.train)
    return (
        f"that the item is among the user's held-out events: {n_held_out:,} of {n_held_out + split.train.n_ratings:,} "
        f"{noun}, {describe_choice(arguments, split)}"
    )


def is_sampled(split: Split) -> bool:
    """Return True if the order is measured on a sample of the users: all of them would take hours."""
    return split.train.n_users * split.train.n_items > MOST_SCORES


def noun_of(dataset: RatingsDataset) -> str:
    """Return what the rows of a dataset are that is ready to train on."""
    return "ratings" if dataset.events is None else "pairs of a user and an item"


def describe_choice(arguments: argparse.Namespace, split: Split) -> str:
    """Say how the held-out ratings of a split were chosen."""
    return _HELD_OUT[arguments.split].format(seed=arguments.split_seed, origin=split.train.held_out_by)


@dataclass(frozen=True)
class EvaluationProtocol:
    """How `cofactor-train evaluate` measured; counts are means over the splits.

    Attributes:
        held_out: how the held-out ratings were chosen, with the seed.
        training_seed: seed of the trainings.
        feedback: "ratings" or "events"; events are counted as pairs of a user and an item.
        n_train: number of ratings to train on.
        n_held_out: number of held-out ratings, all of which count in the errors.
        n_of_unknown_users: held-out ratings by users that the train part lacks.
        n_of_unknown_items: held-out ratings of items that the train part lacks.
        relevance_threshold: lowest rating of a relevant item; 0 for events, which are all relevant.
        candidates: the items that are ordered.
        n_items: number of items in the train part.
        n_ranked_users: users with a relevant held-out item, over whom the ranking metrics are means.
        k: number of recommendations that count.
        n_held_out_ratings: number of ratings among held-out events, of a table of both; 0 for other tables.
    """

    held_out: str
    training_seed: int
    feedback: str
    n_train: float
    n_held_out: float
    n_of_unknown_users: float
    n_of_unknown_items: float
    relevance_threshold: float
    candidates: str
    n_items: float
    n_ranked_users: float
    k: int
    n_held_out_ratings: float = 0.0

    def lines(self) -> list[str]:
        """Return the protocol as lines for people."""
        is_rating = self.feedback == "ratings"
        noun, relevant = "pairs of a user and an item", "all held-out items are relevant"
        if is_rating:
            noun, relevant = "ratings", f"relevant from a rating of {self.relevance_threshold:g}"
        lines = [
            f"protocol: {self.n_held_out:,.0f} of {self.n_held_out + self.n_train:,.0f} {noun}, {self.held_out}; "
            f"trained on the other {self.n_train:,.0f} with seed {self.training_seed}"
        ]
        if is_rating:
            lines.append(
                f"errors: all {self.n_held_out:,.0f} held-out ratings, {self.n_of_unknown_users:,.0f} of them by "
                f"unknown users and {self.n_of_unknown_items:,.0f} of unknown items (not in the train part)"
            )
        if self.n_held_out_ratings:
            lines.append(f"errors: the {self.n_held_out_ratings:,.0f} ratings among the held-out pairs")
        if self.n_ranked_users:
            lines.append(
                f"ranking: the first {self.k} of {self.candidates} ({self.n_items:,.0f} items); {relevant}; mean of "
                f"{self.n_ranked_users:,.0f} users with a relevant item"
            )
        return lines


def evaluation_protocol(
    arguments: argparse.Namespace, splits: Sequence[Split], n_ranked_users: float
) -> EvaluationProtocol:
    """Describe how the flags of `cofactor-train evaluate` made it measure."""
    if arguments.folds is None:
        held_out = describe_choice(arguments, splits[0])
    else:
        held_out = f"each held out once in {arguments.folds} random folds (seed {arguments.split_seed})"
    unknown_users = [np.sum(split.validation.user_rows == split.train.n_users) for split in splits]
    unknown_items = [np.sum(split.validation.item_rows == split.train.n_items) for split in splits]
    return EvaluationProtocol(
        held_out=held_out,
        training_seed=arguments.seed,
        feedback="ratings" if splits[0].train.events is None else "events",
        n_train=float(np.mean([split.train.n_ratings for split in splits])),
        n_held_out=float(np.mean([split.validation.n_ratings for split in splits])),
        n_of_unknown_users=float(np.mean(unknown_users)),
        n_of_unknown_items=float(np.mean(unknown_items)),
        relevance_threshold=relevance_threshold(splits[0]),
        candidates=_candidates(splits[0], arguments),
        n_items=float(np.mean([split.train.n_items for split in splits])),
        n_ranked_users=n_ranked_users,
        k=arguments.top,
        n_held_out_ratings=float(np.mean([_n_ratings_beside_events(split) for split in splits])),
    )


def _n_ratings_beside_events(split: Split) -> int:
    return 0 if split.validation.rated is None else split.validation.rated.n_ratings


def _candidates(split: Split, arguments: argparse.Namespace) -> str:
    if split.train.events is None:
        return "all items that the user has not rated in the train part"
    if arguments.repeats:
        return "all items, those of the user's events in the train part included"
    return "all items that the user has no event of in the train part"


# How the ratings were chosen, by --split.
_HELD_OUT = {
    "random": "held out at random (seed {seed})",
    "per-user": "held out at random from each user (seed {seed})",
    "per-user-last": "the latest of each user",
    "last": "the very last of each user",
    "time": "the latest of all",
    "predefined": "held out by {origin}",
}
