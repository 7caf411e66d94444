"""Flags that name the ratings, and the ratings they name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cofactor_trainer.data import movielens
from cofactor_trainer.data import rating_files as tables
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.dataset_builder import Scale
from cofactor_trainer.data.download import ARCHIVES, cache_dir, fetch
from cofactor_trainer.data.splits import Split, per_user_last_split, per_user_split, random_split, time_split
from cofactor_trainer.errors import InputError

_ENCODING = "utf-8"
# What MovieLens says itself.
_FLAGS_OF_FILES = ("columns", "encoding", "items", "users", "scale")
MAX_SEED = 2**32 - 1
SPLITS: dict[str, Callable[[RatingsDataset, float, int], Split]] = {
    "random": random_split,
    "per-user": per_user_split,
    "per-user-last": lambda dataset, fraction, _: per_user_last_split(dataset, fraction),
    "time": lambda dataset, fraction, _: time_split(dataset, fraction),
}


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of every command that reads ratings."""
    group = parser.add_argument_group("ratings")
    group.add_argument(
        "--dataset",
        default="ml-latest-small",
        metavar="WHAT",
        help="ml-latest-small (comes with the demo extra); ml-100k, ml-1m, ml-20m or ml-25m (downloaded); the folder "
        "of an unpacked MovieLens; or a .csv, .tsv or .parquet file, also .gz (default: %(default)s)",
    )
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="of downloads (default: the user's cache)")
    group.add_argument("--by-title", action="store_true", help="ml-100k: one item per title, as in published figures")
    group.add_argument("--columns", metavar="USER,ITEM,RATING[,TIME]", help="names of the columns of a file")
    group.add_argument("--encoding", metavar="NAME", help=f"of a text file (default: {_ENCODING})")
    group.add_argument(
        "--items", type=Path, metavar="FILE", help="of a file: table with the item column and title, genres, year"
    )
    group.add_argument(
        "--users", type=Path, metavar="FILE", help="of a file: table with the user column and sign-up answers"
    )
    group.add_argument(
        "--scale", type=parse_pair, metavar="LOW,HIGH", help="of the ratings of a file (default: what they span)"
    )
    group.add_argument("--validation-fraction", type=float, default=0.2, metavar="F", help="default: %(default)s")
    group.add_argument(
        "--split", choices=SPLITS, default="random", help="which ratings validate (default: %(default)s)"
    )
    group.add_argument("--split-seed", type=parse_seed, default=42, metavar="N", help="default: %(default)s")


def load_dataset(arguments: argparse.Namespace) -> RatingsDataset:
    """The ratings that the flags name.

    Raises:
        InputError: they cannot be read, or a flag does not apply to them.
    """
    named: str = arguments.dataset
    path = Path(named)
    if named == "ml-latest-small" and not path.exists():
        _refuse(arguments, named, *_FLAGS_OF_FILES, "by_title")
        return movielens.load_embedded_small()
    if named in ARCHIVES and not path.exists():
        _refuse(arguments, named, *_FLAGS_OF_FILES, *(() if named == "ml-100k" else ("by_title",)))
        path = fetch(ARCHIVES[named], arguments.data_dir or cache_dir())
    if path.is_dir():
        _refuse(arguments, f"the folder {named}", *_FLAGS_OF_FILES)
        return movielens.load_folder(path, by_title=arguments.by_title)
    if path.exists():
        _refuse(arguments, f"the file {named}", "by_title")
        if all(table is None or tables.is_parquet(table) for table in (path, arguments.items, arguments.users)):
            _refuse(arguments, "Parquet", "encoding")
    return tables.read_ratings(
        path,
        None if arguments.columns is None else parse_columns(arguments.columns),
        encoding=arguments.encoding or _ENCODING,
        items_path=arguments.items,
        users_path=arguments.users,
        scale=None if arguments.scale is None else Scale(*arguments.scale),
    )


def _refuse(arguments: argparse.Namespace, what: str, *flags: str) -> None:
    """Refuse flags that would change nothing about these ratings."""
    for flag in flags:
        if getattr(arguments, flag) not in (None, False):
            raise InputError(f"--{flag.replace('_', '-')} does not apply to {what}: leave it out")


def split_dataset(dataset: RatingsDataset, arguments: argparse.Namespace) -> Split | None:
    """The split that the flags ask for; None where every rating trains."""
    fraction: float = arguments.validation_fraction
    if not 0 <= fraction < 1:
        raise InputError(f"--validation-fraction is {fraction:g}: it must be at least 0 and below 1")
    return SPLITS[arguments.split](dataset, fraction, arguments.split_seed) if fraction else None


def parse_columns(text: str) -> tables.Columns:
    """Columns from "user,item,rating" or "user,item,rating,time"."""
    names = [name.strip() for name in text.split(",")]
    if len(names) not in (3, 4) or not all(names):
        raise InputError(f"--columns is {text!r}: give USER,ITEM,RATING or USER,ITEM,RATING,TIME")
    columns = tables.Columns(*names[:3])
    return columns if len(names) == 3 else replace(columns, timestamp=names[3])


def parse_seed(text: str) -> int:
    """A whole number of 32 bits: what numpy takes, and torch with the number of an epoch beside it."""
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_SEED):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {MAX_SEED}")
    return int(text)


def parse_pair(text: str) -> tuple[float, float]:
    """Two numbers from "0,5.5"."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 0.5,5") from None
    return low, high
