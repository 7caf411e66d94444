"""Declare the sub-commands of cofactor-train and their flags.

`--help` imports this module and no sub-command, so it must stay quick to import. The module with the name of a
sub-command holds its function `run`, and is imported when it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cofactor_trainer.commands.dataset_flags import add_dataset_flags
from cofactor_trainer.commands.flag_values import parse_names
from cofactor_trainer.commands.recipe_flags import add_recipe_flags
from cofactor_trainer.commands.refresh_flags import add_update_parser, add_warm_start_flags


def add_parsers(commands: Any) -> None:
    """Declare every sub-command."""
    for add_parser in PARSERS.values():
        add_parser(commands)


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train", help="train a model and export it for the server", description="Train a model and export it."
    )
    add_dataset_flags(parser)
    add_recipe_flags(parser)
    _add_output_flags(parser)
    _add_long_training_flags(parser)
    add_warm_start_flags(parser)


def _add_output_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", type=Path, default=Path("models"), metavar="DIR", help="model repository (default: %(default)s)"
    )
    group.add_argument("--name", metavar="NAME", help="name of the model (default: the recipe's name)")
    group.add_argument("--version", metavar="V", help="version of the model (default: the UTC time)")
    group.add_argument(
        "--export",
        choices=("refitted", "judged"),
        default="refitted",
        help="refitted: train a second time, on all ratings, and export that model; judged: export the model that was "
        "measured on the held-out ratings and has not seen them (default: %(default)s)",
    )
    group.add_argument(
        "--quantize",
        choices=("int8",),
        help="choose candidates with 8-bit item factors and score them exactly: for large catalogues (dot products "
        "only)",
    )
    group.add_argument(
        "--approximate",
        action="store_true",
        help="add an index, so that servers can search part of the catalogue only: for millions of items (dot products "
        "only; needs the approximate extra)",
    )
    group.add_argument(
        "--drop-unrated-items",
        action="store_true",
        help="leave out the items of --items that have no ratings or events, instead of giving them a row by their "
        "attributes",
    )


def _add_long_training_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("long training")
    group.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a lower validation loss")
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="save the state of training after every epoch")
    group.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="log every epoch for TensorBoard (needs the tracking extra)"
    )
    group.add_argument(
        "--resume", action="store_true", help="continue from --checkpoint, to the result of an uninterrupted run"
    )


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="compare a recipe with baselines",
        description="Train a recipe on a part of the ratings and measure it on the rest. Compare it with popularity "
        "and with a model of biases only. With --from-log, train nothing and compare two versions on the lists that a "
        "server has served.",
    )
    add_dataset_flags(parser)
    add_recipe_flags(parser)
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--folds", type=int, metavar="N", help="cross-validate: average over N splits, each rating held out once"
    )
    group.add_argument(
        "--top", type=int, default=10, metavar="K", help="recommendations to measure (default: %(default)s)"
    )
    group.add_argument(
        "--repeats",
        action="store_true",
        help="events: recommend again what a user had, and judge events of such items too, as for food or songs",
    )
    group.add_argument("--json", action="store_true", help="print the metrics as JSON")
    logged = parser.add_argument_group("served lists (docs/feedback.md)")
    logged.add_argument(
        "--from-log",
        type=Path,
        metavar="DIR",
        help="compare two versions on what cofactor export-feedback wrote to DIR",
    )
    logged.add_argument(
        "--versions",
        type=parse_names,
        metavar="CURRENT,CANARY",
        help="the versions to compare (default: the two of the most users)",
    )
    logged.add_argument(
        "--success",
        type=parse_names,
        metavar="TYPES",
        help="types of events that are a success, such as click,purchase (default: all)",
    )


def _add_lr_find(commands: Any) -> None:
    parser = commands.add_parser(
        "lr-find",
        help="find a learning rate",
        description="Train some steps with a rising learning rate, print the loss at each and suggest a rate.",
    )
    add_dataset_flags(parser)
    add_recipe_flags(parser)
    group = parser.add_argument_group("range test")
    group.add_argument("--steps", type=int, default=300, metavar="N", help="steps to train (default: %(default)s)")
    group.add_argument("--plot", type=Path, metavar="FILE.html", help="plot the curve (needs the report extra)")


def _add_search(commands: Any) -> None:
    parser = commands.add_parser(
        "search",
        help="search for better hyper-parameters",
        description="Vary the rates, epochs, batch size and factors of a recipe (needs the search extra).",
    )
    add_dataset_flags(parser)
    add_recipe_flags(parser)
    group = parser.add_argument_group("search")
    group.add_argument(
        "--trials",
        type=int,
        default=30,
        metavar="N",
        help="number of trials, earlier ones of the study included (default: %(default)s)",
    )
    group.add_argument("--study", type=Path, metavar="FILE", help="save the trials here and continue from them")


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="write an HTML page about a version",
        description="Write an HTML page about a version. A version keeps what was measured on its held-out ratings, so "
        "the flags for ratings matter only for versions that older trainers exported: name the ratings as in their "
        "training, or leave out what needs them with --validation-fraction 0.",
    )
    parser.add_argument("version", type=Path, metavar="VERSION", help="version directory, models/NAME/VERSION")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="where to write the page (default: NAME-VERSION.html)"
    )
    add_dataset_flags(parser)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="repeat an export that failed",
        description="Export a model that was trained, but whose export failed. The training saved it as "
        "models/NAME/VERSION.trained.npz; the file is removed when the version is complete.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="saved training, models/NAME/VERSION.trained.npz")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="model repository (default: the one that FILE was saved in)"
    )
    parser.add_argument("--name", metavar="NAME", help="name of the model (default: as it was trained)")
    parser.add_argument("--version", metavar="V", help="version of the model (default: as it was trained)")
    parser.add_argument("--quantize", choices=("int8", "none"), help="as for train (default: as it was trained)")
    parser.add_argument(
        "--approximate",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="as for train (default: as it was trained)",
    )


def _add_publish(commands: Any) -> None:
    parser = commands.add_parser(
        "publish",
        help="copy a version into a model repository",
        description="Check a version and copy it into a model repository. Servers see the whole version or nothing. "
        "They load it at their next poll, unless serving.json labels another version stable.",
    )
    parser.add_argument("version", type=Path, metavar="VERSION", help="version directory, models/NAME/VERSION")
    parser.add_argument("repository", metavar="REPOSITORY", help="directory, or a URL such as s3://bucket/models")
    parser.add_argument(
        "--sign-key",
        type=Path,
        metavar="KEY.pem",
        help="sign the version with this private key (P-256), for servers with --require-signature (needs the signing "
        "extra)",
    )


# By the name of the sub-command.
PARSERS: dict[str, Callable[[Any], None]] = {
    "train": _add_train,
    "evaluate": _add_evaluate,
    "lr-find": _add_lr_find,
    "search": _add_search,
    "report": _add_report,
    "export": _add_export,
    "publish": _add_publish,
    "update": add_update_parser,
}
