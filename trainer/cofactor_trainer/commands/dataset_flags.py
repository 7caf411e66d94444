"""Declare the flags that name the ratings and their split, and load what they name.

The modules that read files are imported when they are needed: they import pandas and pyarrow, which `--help` does not
need.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cofactor_trainer.commands.flag_values import parse_delimiter, parse_numbers, parse_pair, parse_seed
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.download import ARCHIVES, fetch
from cofactor_trainer.data.splits import (
    Split,
    per_user_last_split,
    per_user_split,
    predefined_split,
    random_split,
    time_split,
)
from cofactor_trainer.errors import InputError

if TYPE_CHECKING:
    from cofactor_trainer.data.rating_files import ColumnNames, FileOptions

_ENCODING = "utf-8"
# MovieLens defines all of these itself.
_TEXT_FLAGS = ("delimiter", "header", "no_header")
_FILE_FLAGS = (
    *("columns", "encoding", "items", "users", "scale", "missing", "items_id_column", "users_id_column"),
    *_TEXT_FLAGS,
)
_SPLITS: dict[str, Callable[[RatingsDataset, float, int], Split]] = {
    "random": random_split,
    "per-user": per_user_split,
    "per-user-last": lambda dataset, fraction, _: per_user_last_split(dataset, fraction),
    "time": lambda dataset, fraction, _: time_split(dataset, fraction),
    "predefined": lambda dataset, _, __: predefined_split(dataset),
}
# Each says in its own way which ratings a predefined split holds out.
_PREDEFINED_FILE_FLAGS = ("validation_ratings", "split_column", "held_out_value")
_PREDEFINED_FLAGS = (*_PREDEFINED_FILE_FLAGS, "split_name")


def add_dataset_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that name the ratings and how to split them."""
    ratings = parser.add_argument_group("ratings")
    ratings.add_argument(
        "--dataset",
        default="ml-latest-small",
        metavar="WHAT",
        help="ml-latest-small (comes with the demo extra); ml-100k, ml-1m, ml-20m or ml-25m (downloaded); the "
        "directory of an unpacked MovieLens; or a .csv, .tsv, .jsonl or .parquet file, text also in .gz or .zip "
        "(default: %(default)s)",
    )
    ratings.add_argument("--data-dir", type=Path, metavar="DIR", help="cache of downloads (default: the user's cache)")
    ratings.add_argument("--by-title", action="store_true", help="ml-100k: one item per title, as in published figures")
    _add_file_flags(parser)
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


def _add_file_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("if the dataset is a file")
    group.add_argument(
        "--columns", metavar="USER,ITEM,RATING[,TIME]", help="names of its columns, or their numbers without a header"
    )
    group.add_argument(
        "--delimiter",
        type=parse_delimiter,
        metavar="CHARS",
        help='such as ";", "::" or tab (default: detect)',
    )
    header = group.add_mutually_exclusive_group()
    header.add_argument("--header", action="store_true", help="the first line names the columns (default: detect)")
    header.add_argument("--no-header", action="store_true", help="the first line is a rating")
    group.add_argument(
        "--missing", type=parse_numbers, metavar="N[,N]", help='values that mean "no rating", such as 99 or -1'
    )
    group.add_argument(
        "--encoding", metavar="NAME", help=f"encoding of the file and of --items and --users (default: {_ENCODING})"
    )
    group.add_argument(
        "--items", type=Path, metavar="FILE", help="table with the item column and any of title, genres and year"
    )
    group.add_argument(
        "--users", type=Path, metavar="FILE", help="table with the user column and columns of sign-up answers"
    )
    group.add_argument("--items-id-column", metavar="NAME", help="id column of --items (default: detect)")
    group.add_argument("--users-id-column", metavar="NAME", help="id column of --users (default: detect)")
    group.add_argument(
        "--scale",
        type=parse_pair,
        metavar="LOW,HIGH",
        help="lowest and highest possible rating (default: the range of the ratings)",
    )


def load_dataset(arguments: argparse.Namespace) -> RatingsDataset:
    """Load the ratings that the flags name.

    Raises:
        InputError: the ratings are unusable, or a flag does not apply to them.
    """
    from cofactor_trainer.data import movielens

    _check_predefined_flags(arguments)
    name: str = arguments.dataset
    path = Path(name)
    if name == "ml-latest-small" and not path.exists():
        _reject_flags(arguments, name, *_FILE_FLAGS, *_PREDEFINED_FLAGS, "by_title")
        return movielens.load_embedded_small()
    if name in ARCHIVES and not path.exists():
        _reject_flags(arguments, name, *_FILE_FLAGS, *(() if name == "ml-100k" else ("by_title",)))
        _reject_flags(arguments, name, *_PREDEFINED_FILE_FLAGS)
        path = fetch(name, arguments.data_dir)
    if path.is_dir():
        _reject_flags(arguments, f"the directory {name}", *_FILE_FLAGS, *_PREDEFINED_FILE_FLAGS)
        return movielens.load_folder(path, by_title=arguments.by_title, split_name=arguments.split_name)
    return _load_file(path, arguments)


def _load_file(path: Path, arguments: argparse.Namespace) -> RatingsDataset:
    from cofactor_trainer.data.dataset_builder import RatingScale
    from cofactor_trainer.data.rating_files import PredefinedParts, read_ratings
    from cofactor_trainer.data.table_files import is_parquet, is_text

    if path.exists():
        _reject_flags(arguments, f"the file {arguments.dataset}", "by_title", "split_name")
        if all(table is None or is_parquet(table) for table in (path, arguments.items, arguments.users)):
            _reject_flags(arguments, "Parquet", "encoding")
        if not is_text(path):
            _reject_flags(arguments, "Parquet" if is_parquet(path) else "JSON", *_TEXT_FLAGS)
    for table in ("items", "users"):
        if getattr(arguments, table) is None:
            _reject_flags(arguments, f"ratings without --{table}", f"{table}_id_column")
    return read_ratings(
        path,
        None if arguments.columns is None else _parse_columns(arguments.columns),
        options=_file_options(arguments),
        items_path=arguments.items,
        users_path=arguments.users,
        scale=None if arguments.scale is None else RatingScale(*arguments.scale),
        parts=PredefinedParts(arguments.split_column, arguments.held_out_value, arguments.validation_ratings),
    )


def _check_predefined_flags(arguments: argparse.Namespace) -> None:
    """Check that --split predefined comes with one way to say which ratings are held out, and these only with it."""
    if arguments.split != "predefined":
        _reject_flags(arguments, f"--split {arguments.split}", *_PREDEFINED_FLAGS)
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


def _file_options(arguments: argparse.Namespace) -> FileOptions:
    from cofactor_trainer.data.rating_files import FileOptions

    return FileOptions(
        encoding=arguments.encoding or _ENCODING,
        delimiter=arguments.delimiter,
        has_header=True if arguments.header else False if arguments.no_header else None,
        missing=arguments.missing or (),
        items_id_column=arguments.items_id_column,
        users_id_column=arguments.users_id_column,
    )


def _reject_flags(arguments: argparse.Namespace, dataset: str, *flags: str) -> None:
    """Raise an `InputError` if one of the flags is set, because it would have no effect on the dataset."""
    for flag in flags:
        if getattr(arguments, flag) not in (None, False):
            raise InputError(f"--{flag.replace('_', '-')} does not apply to {dataset}: leave it out")


def _parse_columns(text: str) -> ColumnNames:
    from cofactor_trainer.data.rating_files import ColumnNames

    names = [name.strip() for name in text.split(",")]
    if len(names) not in (3, 4) or not all(names):
        raise InputError(f"--columns is {text!r}: give USER,ITEM,RATING or USER,ITEM,RATING,TIME")
    columns = ColumnNames(*names[:3])
    return columns if len(names) == 3 else replace(columns, timestamp=names[3])


def split_dataset(dataset: RatingsDataset, arguments: argparse.Namespace) -> Split | None:
    """Split the ratings as the flags say; return None if no rating is held out."""
    fraction: float = arguments.validation_fraction
    if not 0 <= fraction < 1:
        raise InputError(f"--validation-fraction is {fraction:g}: it must be at least 0 and below 1")
    return _SPLITS[arguments.split](dataset, fraction, arguments.split_seed) if fraction else None


def require_split(dataset: RatingsDataset, arguments: argparse.Namespace) -> Split:
    """Split the ratings as the flags say, for commands that cannot do without held-out ratings."""
    split = split_dataset(dataset, arguments)
    if split is None:
        raise InputError("--validation-fraction is 0: it must be above 0, because the command needs held-out ratings")
    return split


def print_dataset(console: Console, dataset: RatingsDataset, n_validation: int | None) -> None:
    """Print one line about the ratings and one about each file.

    n_validation is None if no number of held-out ratings is to be shown.
    """
    density = dataset.n_ratings / (dataset.n_users * dataset.n_items)
    held_out = "" if n_validation is None else f", {n_validation:,} of them held out"
    console.print(
        f"dataset: {dataset.name}, {dataset.n_ratings:,} ratings of {dataset.rating_min:g} to {dataset.rating_max:g} "
        f"by {dataset.n_users:,} users of {dataset.n_items:,} items ({density:.1%} of the table){held_out}",
        soft_wrap=True,
    )
    for note in dataset.notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)
