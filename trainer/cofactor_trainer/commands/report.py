"""Run `cofactor-train report`: write an HTML page about a version."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cofactor_trainer.commands.dataset_flags import add_dataset_flags, load_dataset, split_dataset
from cofactor_trainer.errors import MissingExtraError
from cofactor_trainer.export.held_out_measures import read_measures
from cofactor_trainer.export.version_reader import read_version


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the version and its held-out ratings, and write the page."""
    try:
        from cofactor_trainer.report import write_report  # needs plotly, an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("the report", error.name or "plotly", "report") from error
    version = read_version(arguments.version)
    needs_ratings = read_measures(version.path) is None and not version.manifest.refitted
    split = None
    if needs_ratings and arguments.validation_fraction:
        split = split_dataset(load_dataset(arguments), arguments)
    path = arguments.html or Path(f"{version.manifest.name}-{version.manifest.version}.html")
    write_report(version, None if split is None else split.validation, path)
    print(f"report: {path}")
    return 0
