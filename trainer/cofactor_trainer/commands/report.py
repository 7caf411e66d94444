"""`cofactor-train report`: one HTML file about a version."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cofactor_trainer.commands.data import add_data_flags, load_dataset, split_dataset
from cofactor_trainer.errors import MissingExtraError
from cofactor_trainer.export.version_reader import read_version


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "report",
        help="write one HTML file that shows a version",
        description="Write one HTML file about a version. The ratings flags name what it was trained on, as they did "
        "for `train`; --validation-fraction 0 leaves out what needs held-out ratings.",
    )
    parser.add_argument("version", type=Path, metavar="VERSION", help="a version directory, models/NAME/VERSION")
    parser.add_argument("--html", type=Path, metavar="FILE", help="default: NAME-VERSION.html")
    add_data_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the version and its held-out ratings, write the page."""
    try:
        from cofactor_trainer.report import write_report  # plotly is an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("the report", error.name or "plotly", "report") from error
    version = read_version(arguments.version)
    split = split_dataset(load_dataset(arguments), arguments) if arguments.validation_fraction else None
    path = arguments.html or Path(f"{version.manifest.name}-{version.manifest.version}.html")
    write_report(version, None if split is None else split.validation, path)
    print(f"report: {path}")
    return 0
