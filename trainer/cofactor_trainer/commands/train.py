"""Run `cofactor-train train`: train a model and export a version directory."""

from __future__ import annotations

import argparse
import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.commands.dataset_flags import load_dataset, print_dataset
from cofactor_trainer.commands.erasure_flags import use_erasures_of_repository
from cofactor_trainer.commands.recipe_flags import recipe_from_flags, resolve_device
from cofactor_trainer.commands.small_tables import warn_of_small_table
from cofactor_trainer.commands.split_flags import split_dataset
from cofactor_trainer.commands.two_trainings import TrainedVersion, Trainer
from cofactor_trainer.data.duplicates import without_duplicates
from cofactor_trainer.data.events.rated_rows import rated_rows
from cofactor_trainer.data.events.weights import weigh_events, with_dismissed
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.ann_index_builder import require_faiss
from cofactor_trainer.export.finished_training import (
    FinishedTraining,
    kept_until_exported,
    save_training,
    training_path,
)
from cofactor_trainer.export.manifest import check_names
from cofactor_trainer.export.version_writer import version_of_time

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    """Load the ratings, train on a part of them, measure on the rest, train again on all of them, export."""
    console = Console()
    recipe = recipe_from_flags(arguments)
    name: str = recipe.name if arguments.name is None else arguments.name
    _check_flags(arguments, recipe, name)
    trainer = Trainer(console, recipe, resolve_device(arguments.device), arguments)
    console.print(f"reading {arguments.dataset}", soft_wrap=True, markup=False, highlight=False)
    dataset = load_dataset(arguments, name)
    resolve_range(recipe, rated_rows(dataset) or dataset, allow_misfit=arguments.allow_misfit_range)
    split = split_dataset(dataset, arguments)
    print_dataset(console, dataset, None if split is None else split.validation.n_ratings)
    console.print(f"recipe: {recipe.name} ({recipe.model}), seed {arguments.seed}, on {trainer.device}")
    dataset = weigh_events(dataset)
    learnt = dataset if split is None else split.train
    warn_of_small_table(recipe, learnt.rated or learnt)
    _create_model_directory(arguments.output / name)
    version = trainer.train_version(dataset, split)
    console.print(f"metrics: {version.protocol.text}", soft_wrap=True)
    console.print("exporting, and comparing every graph with torch")
    path = _export(version, recipe, name, arguments)
    console.print(f"exported: {path}")
    return 0


def _export(version: TrainedVersion, recipe: Recipe, name: str, arguments: argparse.Namespace) -> Path:
    used = recipe.adapted_to(version.train_ratings.n_ratings)
    training = FinishedTraining(
        version.model,
        without_duplicates(version.train_ratings),
        name,
        arguments.version or version_of_time(arguments.output / name, datetime.now(UTC)),
        metrics=version.metrics,
        hyperparameters={**used.hyperparameters(), "seed": str(arguments.seed)},
        history=version.history,
        protocol=version.protocol,
        rated=with_dismissed(version.rated),
        quantize_to=arguments.quantize,
        approximate=arguments.approximate,
    )
    with kept_until_exported(_save(training, arguments.output)):
        return training.export(arguments.output)


def _save(training: FinishedTraining, models_dir: Path) -> Path | None:
    """Save the training beside the place of its version; return None if that fails, which is no reason to stop."""
    path = training_path(models_dir, training.name, training.version)
    try:
        save_training(training, path)
    except OSError as error:
        logger.warning("the trained model cannot be saved before its export: %s", error)
        return None
    return path


def _check_flags(arguments: argparse.Namespace, recipe: Recipe, name: str) -> None:
    """Reject flags that would otherwise fail after hours of training."""
    _check_new_version(arguments.output, name, arguments.version)
    use_erasures_of_repository(arguments)
    if arguments.resume and arguments.checkpoint is None:
        raise InputError("--resume needs --checkpoint: name the file to continue from")
    if arguments.export == "judged" and not arguments.validation_fraction:
        raise InputError("--export judged needs held-out ratings: raise --validation-fraction, or leave out --export")
    for flag in ("quantize", "approximate"):
        if getattr(arguments, flag) and recipe.has_network:
            raise InputError(
                f"--{flag} is for dot products only, but recipe {recipe.name} is a {recipe.model}: leave it out or "
                "choose another --recipe"
            )
    if arguments.approximate:
        require_faiss()


def _check_new_version(output: Path, name: str, version: str | None) -> None:
    """Reject invalid names, and a version that exists."""
    try:
        # A version named after the time is always valid.
        check_names(name, "1" if version is None else version)
        exists = version is not None and (output / name / version).exists()
    except ValueError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}): pass another directory with --output", output) from None
    if exists:
        raise InputError(f"version {version} of model {name} exists and versions never change: pass another --version")


def _create_model_directory(directory: Path) -> None:
    """Create the directory of a model's versions and check that it is writable."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=directory):
            pass
    except OSError as error:
        raise InputError(
            f"versions cannot be written here ({error.strerror}): pass another directory with --output", directory
        ) from None
