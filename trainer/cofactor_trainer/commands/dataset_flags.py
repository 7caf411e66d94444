"""Declare the flags that name the ratings and their split, and load what they name.

The modules that read files are imported when they are needed: they import pandas and pyarrow, which `--help` does not
need.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cofactor_trainer.commands.erasure_flags import add_erasure_flags, check_erasure_flags, without_erased_users
from cofactor_trainer.commands.event_flags import (
    add_event_flags,
    check_event_flags,
    event_settings,
    file_options,
    is_demo_shop,
    learns_from_events,
    load_demo,
    load_events,
    parse_named_columns,
)
from cofactor_trainer.commands.flag_values import (
    parse_attribute_types,
    parse_delimiter,
    parse_numbers,
    parse_pair,
    reject_flags,
)
from cofactor_trainer.commands.split_flags import (
    PREDEFINED_FILE_FLAGS,
    PREDEFINED_FLAGS,
    add_split_flags,
    check_predefined_flags,
)
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.download import ARCHIVES, fetch
from cofactor_trainer.errors import InputError

if TYPE_CHECKING:
    from cofactor_trainer.data.rating_files import ColumnNames

_ENCODING = "utf-8"
# MovieLens defines all of these itself.
_TEXT_FLAGS = ("delimiter", "header", "no_header")
_FILE_FLAGS = (
    *("columns", "encoding", "items", "users", "scale", "missing", "items_id_column", "users_id_column"),
    "item_attributes",
    *_TEXT_FLAGS,
)
_FLAGS_OF_TABLES = {"items": ("items_id_column", "item_attributes"), "users": ("users_id_column",)}


def add_dataset_flags(parser: argparse.ArgumentParser, flag: str = "--dataset", *, required: bool = False) -> None:
    """Declare the flags that name the ratings and how to split them; ``flag`` names the ratings."""
    ratings = parser.add_argument_group("ratings")
    ratings.add_argument(
        flag,
        dest="dataset",
        default=None if required else "ml-latest-small",
        required=required,
        metavar="WHAT",
        help="ml-latest-small (comes with the demo extra); ml-100k, ml-1m, ml-20m or ml-25m (downloaded); demo-shop "
        "(generated events); the directory of an unpacked MovieLens; or a .csv, .tsv, .jsonl or .parquet file, text "
        "also in .gz or .zip" + ("" if required else " (default: %(default)s)"),
    )
    ratings.add_argument("--data-dir", type=Path, metavar="DIR", help="cache of downloads (default: the user's cache)")
    ratings.add_argument("--by-title", action="store_true", help="ml-100k: one item per title, as in published figures")
    _add_file_flags(parser)
    add_event_flags(parser)
    add_erasure_flags(parser)
    add_split_flags(parser)


def _add_file_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("if the dataset is a file")
    group.add_argument(
        "--columns",
        metavar="USER,ITEM,RATING[,TIME]",
        help="names of its columns, or their numbers without a header; of events: user=NAME,item=NAME and any of "
        "event=NAME, count=NAME and time=NAME",
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
        "--items",
        type=Path,
        metavar="FILE",
        help="table with the item column and any of title, genres, year and further attributes",
    )
    group.add_argument(
        "--users", type=Path, metavar="FILE", help="table with the user column and columns of sign-up answers"
    )
    group.add_argument("--items-id-column", metavar="NAME", help="id column of --items (default: detect)")
    group.add_argument(
        "--item-attributes",
        type=parse_attribute_types,
        metavar="NAME=TYPE[,...]",
        help="types of columns of --items: text, number, boolean, time, texts (a list such as A|B) or ignore "
        "(default: detect)",
    )
    group.add_argument("--users-id-column", metavar="NAME", help="id column of --users (default: detect)")
    group.add_argument(
        "--scale",
        type=parse_pair,
        metavar="LOW,HIGH",
        help="lowest and highest possible rating (default: the range of the ratings)",
    )


def load_dataset(arguments: argparse.Namespace, model_name: str = "") -> RatingsDataset:
    """Load the ratings or events that the flags name, without those of erased users.

    `weigh_events` and `split_dataset` weigh events. `model_name` says which model's erasures apply beside those that
    concern all models.

    Raises:
        InputError: the ratings or events are unusable, or a flag does not apply to them.
    """
    check_predefined_flags(arguments)
    check_event_flags(arguments)
    check_erasure_flags(arguments)
    dataset = without_erased_users(_load(arguments), arguments, model_name)
    if arguments.positive_from is None:
        return dataset
    from cofactor_trainer.data.events.from_ratings import events_from_ratings

    return events_from_ratings(dataset, arguments.positive_from, event_settings(arguments))


def _load(arguments: argparse.Namespace) -> RatingsDataset:
    from cofactor_trainer.data import movielens

    name: str = arguments.dataset
    path = Path(name)
    if name == "ml-latest-small" and not path.exists():
        _reject_events(arguments, name)
        reject_flags(arguments, name, *_FILE_FLAGS, *PREDEFINED_FLAGS, "by_title")
        return movielens.load_embedded_small()
    if is_demo_shop(arguments):
        reject_flags(arguments, name, *_FILE_FLAGS, *PREDEFINED_FLAGS, "by_title")
        return load_demo(arguments)
    if name in ARCHIVES and not path.exists():
        reject_flags(arguments, name, *_FILE_FLAGS, *(() if name == "ml-100k" else ("by_title",)))
        reject_flags(arguments, name, *PREDEFINED_FILE_FLAGS)
        path = fetch(name, arguments.data_dir)
    if path.is_dir() and not _is_folder_of_parquet(path):
        _reject_events(arguments, name)
        reject_flags(arguments, f"the directory {name}", *_FILE_FLAGS, *PREDEFINED_FILE_FLAGS)
        return movielens.load_folder(path, by_title=arguments.by_title, split_name=arguments.split_name)
    return _load_file(path, arguments)


def _is_folder_of_parquet(path: Path) -> bool:
    from cofactor_trainer.data.table_files import is_parquet

    return is_parquet(path)


def _load_file(path: Path, arguments: argparse.Namespace) -> RatingsDataset:
    from cofactor_trainer.data.dataset_builder import RatingScale
    from cofactor_trainer.data.rating_files import PredefinedParts, read_ratings
    from cofactor_trainer.data.table_files import is_parquet, is_text

    if path.exists():
        reject_flags(arguments, f"the file {arguments.dataset}", "by_title", "split_name")
        if all(table is None or is_parquet(table) for table in (path, arguments.items, arguments.users)):
            reject_flags(arguments, "Parquet", "encoding")
        if not is_text(path):
            reject_flags(arguments, "Parquet" if is_parquet(path) else "JSON", *_TEXT_FLAGS)
    for table, flags in _FLAGS_OF_TABLES.items():
        if getattr(arguments, table) is None:
            reject_flags(arguments, f"ratings without --{table}", *flags)
    if learns_from_events(arguments) and arguments.positive_from is None:
        return load_events(path, arguments)
    return read_ratings(
        path,
        None if arguments.columns is None else _parse_columns(arguments.columns),
        options=file_options(arguments),
        items_path=arguments.items,
        users_path=arguments.users,
        scale=None if arguments.scale is None else RatingScale(*arguments.scale),
        parts=PredefinedParts(arguments.split_column, arguments.held_out_value, arguments.validation_ratings),
    )


def _reject_events(arguments: argparse.Namespace, dataset: str) -> None:
    if arguments.feedback in ("events", "both"):
        raise InputError(
            f"{dataset} has ratings: turn them into events with --positive-from 4, or leave out --feedback"
        )


def _parse_columns(text: str) -> ColumnNames:
    from cofactor_trainer.data.rating_files import ColumnNames

    named = parse_named_columns(text)
    if named is not None:
        if not {"user", "item", "rating"} <= named.keys() <= {"user", "item", "rating", "time"}:
            raise InputError(
                f"--columns is {text!r}: give user=NAME,item=NAME,rating=NAME and, if there are, time=NAME"
            )
        return ColumnNames(named["user"], named["item"], named["rating"], named.get("time", "timestamp"))
    names = [name.strip() for name in text.split(",")]
    if len(names) not in (3, 4) or not all(names):
        raise InputError(f"--columns is {text!r}: give USER,ITEM,RATING or USER,ITEM,RATING,TIME")
    columns = ColumnNames(*names[:3])
    return columns if len(names) == 3 else replace(columns, timestamp=names[3])


def print_dataset(console: Console, dataset: RatingsDataset, n_validation: int | None) -> None:
    """Print one line about the ratings and one about each file.

    n_validation is None if no number of held-out ratings is to be shown.
    """
    if dataset.events is not None:
        _print_events(console, dataset, n_validation)
        return
    density = dataset.n_ratings / (dataset.n_users * dataset.n_items)
    held_out = "" if n_validation is None else f", {n_validation:,} of them held out"
    console.print(
        f"dataset: {dataset.name}, {dataset.n_ratings:,} ratings of {dataset.rating_min:g} to {dataset.rating_max:g} "
        f"by {dataset.n_users:,} users of {dataset.n_items:,} items ({density:.1%} of the table){held_out}",
        soft_wrap=True,
    )
    for note in dataset.notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)


def _print_events(console: Console, dataset: RatingsDataset, n_validation: int | None) -> None:
    """Print what was read of a table of events."""
    held_out = "" if n_validation is None else f", {n_validation:,} pairs of a user and an item held out"
    console.print(
        f"dataset: {dataset.name}, events of {dataset.n_users:,} users and {dataset.n_items:,} items{held_out}",
        soft_wrap=True,
    )
    for note in dataset.notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)
