"""Declare the flags of erased users, and leave their rows out."""

from __future__ import annotations

import argparse
from pathlib import Path

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import InputError


def add_erasure_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that name the list of erased users."""
    group = parser.add_argument_group("erased users")
    group.add_argument(
        "--erasures",
        type=Path,
        metavar="PATH",
        help="folder .erasures of a model repository, or a file of cofactor models erasures --output: leave out the "
        "rows of these users (default of train: the folder in --output)",
    )
    group.add_argument(
        "--erasure-key-file", type=Path, metavar="FILE", help="the key of the erasures, the same as the servers'"
    )


def check_erasure_flags(arguments: argparse.Namespace) -> None:
    """Raise `InputError` unless there are both flags or neither."""
    if arguments.erasures is not None and arguments.erasure_key_file is None:
        raise InputError("--erasures needs --erasure-key-file: name the key that the servers have")
    if arguments.erasures is None and arguments.erasure_key_file is not None:
        raise InputError("--erasure-key-file needs --erasures: name the list of the erased users")


def use_erasures_of_repository(arguments: argparse.Namespace) -> None:
    """Take the erasures of the repository that the version is exported to, if the flags name no others.

    Raises:
        InputError: the repository has erasures, and the flags name no key.
    """
    from cofactor_trainer.data.erasures.records import FOLDER, has_records

    if arguments.erasures is not None:
        return
    if arguments.erasure_key_file is not None:
        arguments.erasures = arguments.output / FOLDER
    elif has_records(arguments.output):
        raise InputError(
            f"the model repository {arguments.output} records erased users: pass --erasure-key-file, so that their "
            "rows are left out"
        )


def without_erased_users(dataset: RatingsDataset, arguments: argparse.Namespace, model_name: str) -> RatingsDataset:
    """Leave out the rows of the users that the flags name; without the flags, return the dataset as it is."""
    if arguments.erasures is None:
        return dataset
    from cofactor_trainer.data.erasures.left_out_rows import leave_out_erased
    from cofactor_trainer.data.erasures.records import Erasures
    from cofactor_trainer.data.table_files import table_parts

    erasures = Erasures.read(arguments.erasures, arguments.erasure_key_file, model_name)
    scale_is_given = arguments.scale is not None or not table_parts(Path(arguments.dataset))[0].is_file()
    return leave_out_erased(dataset, erasures, scale_is_given=scale_is_given)
