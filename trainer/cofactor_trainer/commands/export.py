"""Run `cofactor-train export`: repeat the export of a training whose export failed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from cofactor_trainer.errors import InputError
from cofactor_trainer.export.finished_training import FinishedTraining, kept_until_exported, read_training


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the training, export it and remove the file."""
    training = _with_flags(read_training(arguments.file), arguments)
    output: Path | None = arguments.output
    if output is None:
        output = arguments.file.absolute().parents[1]
        if arguments.file.absolute().parent.name != training.name:
            raise InputError(
                f"is not in the folder of the model {training.name}: name the model repository with --output",
                arguments.file,
            )
    with kept_until_exported(arguments.file):
        path = training.export(output)
    print(f"exported: {path}")
    return 0


def _with_flags(training: FinishedTraining, arguments: argparse.Namespace) -> FinishedTraining:
    """Return the training with what the flags change."""
    changes: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("name", "version", "approximate")
        if getattr(arguments, name) is not None
    }
    if arguments.quantize is not None:
        changes["quantize_to"] = None if arguments.quantize == "none" else arguments.quantize
    return replace(training, **changes)
