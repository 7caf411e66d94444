"""Say on which ratings the metrics of a version were measured."""

from __future__ import annotations

import argparse

from cofactor_trainer.data.splits import Split
from cofactor_trainer.export.version_writer import MetricsProtocol


def describe_protocol(arguments: argparse.Namespace, split: Split | None, *, refitted: bool) -> MetricsProtocol:
    """Describe how the metrics were measured and what the exported model was trained on.

    Args:
        arguments: flags of the split.
        split: the ratings; None if none were held out.
        refitted: True if the exported model was trained again on all ratings.
    """
    if split is None:
        return MetricsProtocol("measured on the ratings that the model was trained on", refitted=False)
    n_held_out = split.validation.n_ratings
    n_ratings = n_held_out + split.train.n_ratings
    if refitted:
        trained_on = f"the exported model was then trained on all {n_ratings:,}"
    else:
        trained_on = f"the exported model was trained on the other {split.train.n_ratings:,}"
    chosen = _HELD_OUT[arguments.split].format(seed=arguments.split_seed)
    return MetricsProtocol(f"measured on {n_held_out:,} of {n_ratings:,} ratings, {chosen}; {trained_on}", refitted)


# How the ratings were chosen, by --split.
_HELD_OUT = {
    "random": "held out at random (seed {seed})",
    "per-user": "held out at random from each user (seed {seed})",
    "per-user-last": "the latest of each user",
    "time": "the latest of all",
}
