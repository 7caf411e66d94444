"""Run `cofactor-train report`: write an HTML page about a version."""

from __future__ import annotations

import argparse
from pathlib import Path

from cofactor_trainer.commands.dataset_flags import load_dataset, split_dataset
from cofactor_trainer.errors import MissingExtraError
from cofactor_trainer.export.version_reader import read_version


def run(arguments: argparse.Namespace) -> int:
    """Read the version and its held-out ratings, and write the page."""
    try:
        from cofactor_trainer.report import write_report  # needs plotly, an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("the report", error.name or "plotly", "report") from error
    version = read_version(arguments.version)
    split = None
    if version.manifest.refitted:
        print("the version was trained again on all ratings, so the page has no errors: see --export judged of train")
    elif arguments.validation_fraction:
        split = split_dataset(load_dataset(arguments), arguments)
    path = arguments.html or Path(f"{version.manifest.name}-{version.manifest.version}.html")
    write_report(version, None if split is None else split.validation, path)
    print(f"report: {path}")
    return 0
