"""Run `cofactor-train export`: repeat the export of a training whose export failed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from cofactor_trainer.errors import InputError
from cofactor_trainer.export.finished_training import FinishedTraining, kept_until_exported, read_training


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
