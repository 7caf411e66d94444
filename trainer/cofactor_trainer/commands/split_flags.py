"""Declare the flags that say which ratings or events to hold out, and split a dataset by them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cofactor_trainer.commands.flag_values import parse_seed, reject_flags
from cofactor_trainer.data.dataset import BoolArray, RatingsDataset
from cofactor_trainer.data.events.splits import split_events
from cofactor_trainer.data.splits import (
    Split,
    last_mask,
    per_user_last_mask,
    per_user_mask,
    predefined_mask,
    random_mask,
    split_by_mask,
    time_mask,
)
from cofactor_trainer.errors import InputError

# Functions that mark the rows to hold out.
_SPLITS: dict[str, Callable[..., BoolArray]] = {
    "random": random_mask,
    "per-user": per_user_mask,
    "per-user-last": per_user_last_mask,
    "last": last_mask,
    "time": time_mask,
    "predefined": predefined_mask,
}
# Splits that need a seed: of events they hold out all of a user and an item, and the others single events. Then those
# that need a fraction.
_SEEDED = ("random", "per-user")
_OF_A_FRACTION = (*_SEEDED, "per-user-last", "time")
# Each says in its own way which ratings a predefined split holds out.
PREDEFINED_FILE_FLAGS = ("validation_ratings", "split_column", "held_out_value")
PREDEFINED_FLAGS = (*PREDEFINED_FILE_FLAGS, "split_name")


def add_split_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say how to split a dataset."""
    split = parser.add_argument_group("split")
    split.add_argument(
        "--validation-fraction", type=float, default=0.2, metavar="F", help="ratings to hold out (default: %(default)s)"
    )
    split.add_argument(
        "--split", choices=_SPLITS, default="random", help="how to choose the held-out ratings (default: %(default)s)"
    )
    split.add_argument(
        "--split-seed", type=parse_seed, default=42, metavar="N", help="seed of the split (default: %(default)s)"
    )
    _add_predefined_flags(parser)


def _add_predefined_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --split predefined, one of")
    group.add_argument(
        "--validation-ratings",
        type=Path,
        metavar="FILE",
        help="file of the held-out ratings, with the columns of the dataset, which is then the train part",
    )
    group.add_argument("--split-column", metavar="NAME", help="column of the dataset that says train or test")
    group.add_argument(
        "--split-name",
        metavar="NAME",
        help="MovieLens 100k, 1M or 10M: u1 to u5, ua, ub, r1 to r5, ra or rb, from the files NAME.base or NAME.train, "
        "and NAME.test",
    )
    group.add_argument(
        "--held-out-value",
        metavar="VALUE",
        help="with --split-column: hold out the ratings with this value, such as the number of a fold",
    )


def check_predefined_flags(arguments: argparse.Namespace) -> None:
    """Check that --split predefined comes with one way to say which ratings are held out, and these only with it."""
    if arguments.split != "predefined":
        reject_flags(arguments, f"--split {arguments.split}", *PREDEFINED_FLAGS)
        return
    ways = ("validation_ratings", "split_column", "split_name")
    flags = [f"--{way.replace('_', '-')}" for way in ways if getattr(arguments, way) is not None]
    if len(flags) != 1:
        given = f"has {' and '.join(flags)}" if flags else "does not say which ratings are held out"
        raise InputError(
            f"--split predefined {given}: give one of --validation-ratings FILE, --split-column NAME and, for "
            "MovieLens, --split-name NAME"
        )
    if arguments.held_out_value is not None and arguments.split_column is None:
        raise InputError(f"--held-out-value does not apply to {flags[0]}: leave it out, or use --split-column")


def split_dataset(dataset: RatingsDataset, arguments: argparse.Namespace) -> Split | None:
    """Split the ratings as the flags say; return None if no rating is held out."""
    fraction: float = arguments.validation_fraction
    if not 0 <= fraction < 1:
        raise InputError(f"--validation-fraction is {fraction:g}: it must be at least 0 and below 1")
    if not fraction:
        return None
    settings = {"fraction": fraction} if arguments.split in _OF_A_FRACTION else {}
    settings |= {"seed": arguments.split_seed} if arguments.split in _SEEDED else {}
    choose = partial(_SPLITS[arguments.split], **settings)
    if dataset.events is None:
        return split_by_mask(dataset, choose(dataset))
    return split_events(
        dataset,
        choose,
        by_pair=arguments.split in _SEEDED,
        keeps_repeats=getattr(arguments, "repeats", False),
    )


def require_split(dataset: RatingsDataset, arguments: argparse.Namespace) -> Split:
    """Split the ratings as the flags say, for commands that cannot do without held-out ratings."""
    split = split_dataset(dataset, arguments)
    if split is None:
        raise InputError("--validation-fraction is 0: it must be above 0, because the command needs held-out ratings")
    return split
