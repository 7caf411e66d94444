"""Run `cofactor-train report`: write an HTML page about a version."""

from __future__ import annotations

import argparse
from pathlib import Path

from cofactor_trainer.commands.dataset_flags import load_dataset
from cofactor_trainer.commands.split_flags import split_dataset
from cofactor_trainer.errors import MissingExtraError
from cofactor_trainer.export.held_out_measures import read_measures
from cofactor_trainer.export.version_reader import read_version


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
    write_report(version, None if split is None else split.of_ratings().validation, path)
    print(f"report: {path}")
    return 0
