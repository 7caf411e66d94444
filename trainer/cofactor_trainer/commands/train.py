"""Run `cofactor-train train`: train a model and export a version directory."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.commands.dataset_flags import load_dataset, print_dataset
from cofactor_trainer.commands.erasure_flags import use_erasures_of_repository
from cofactor_trainer.commands.recipe_flags import recipe_from_flags, resolve_device
from cofactor_trainer.commands.small_tables import warn_of_large_table, warn_of_small_table
from cofactor_trainer.commands.split_flags import split_dataset
from cofactor_trainer.commands.two_trainings import TrainedVersion, Trainer
from cofactor_trainer.commands.warm_training import train_from_version
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.duplicates import without_duplicates
from cofactor_trainer.data.events.rated_rows import rated_rows
from cofactor_trainer.data.events.weights import weigh_events, with_dismissed
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.ann_index.builder import require_faiss
from cofactor_trainer.export.finished_training import FinishedTraining, export_training
from cofactor_trainer.export.new_version import check_new_version, create_model_directory
from cofactor_trainer.export.version_writer import version_of_time
from cofactor_trainer.memory import return_freed_memory


def run(arguments: argparse.Namespace) -> int:
    """Load the ratings, train on a part of them, measure on the rest, train again on all of them, export."""
    console = Console()
    if arguments.warm_start is not None:
        return train_from_version(console, arguments)
    if arguments.embedding_space is not None:
        raise InputError("--embedding-space needs --warm-start: name the version to start from")
    recipe = recipe_from_flags(arguments)
    name: str = recipe.name if arguments.name is None else arguments.name
    _check_flags(arguments, recipe, name)
    trainer = Trainer(console, recipe, resolve_device(arguments.device), arguments)
    console.print(f"reading {arguments.dataset}", soft_wrap=True, markup=False, highlight=False)
    dataset = load_dataset(arguments, name)
    resolve_range(recipe, rated_rows(dataset) or dataset, allow_misfit=arguments.allow_misfit_range)
    split = split_dataset(dataset, arguments)
    print_dataset(console, dataset, None if split is None else split.validation.n_ratings)
    dataset = _choose_unrated(console, dataset, recipe, drop=arguments.drop_unrated_items)
    console.print(f"recipe: {recipe.name} ({recipe.model}), seed {arguments.seed}, on {trainer.device}")
    dataset = weigh_events(dataset)
    learnt = dataset if split is None else split.train
    return_freed_memory()
    warn_of_small_table(recipe, learnt.rated or learnt)
    warn_of_large_table(recipe, learnt)
    create_model_directory(arguments.output / name)
    version = trainer.train_version(dataset, split)
    del split, learnt  # of millions of events, a copy takes hundreds of megabytes
    return_freed_memory()
    console.print(f"metrics: {version.protocol.text}", soft_wrap=True)
    console.print("exporting, and comparing every graph with torch")
    path = _export(version, recipe, name, arguments)
    console.print(f"exported: {path}")
    return 0


def _choose_unrated(console: Console, dataset: RatingsDataset, recipe: Recipe, *, drop: bool) -> RatingsDataset:
    """Say what becomes of the described items without ratings, and leave them out if they get no row."""
    if dataset.unrated is None:
        return dataset
    n_unrated, nothing = len(dataset.unrated.item_ids), "events" if dataset.events is not None else "ratings"
    outcome = "are part of the catalogue: their rows follow from their attributes"
    if drop:
        outcome = "are left out"
    elif recipe.has_network:
        outcome = f"are left out, because recipe {recipe.name} is a {recipe.model}, which cannot embed items"
    console.print(f"{n_unrated:,} described items without {nothing} {outcome}", soft_wrap=True, highlight=False)
    return replace(dataset, unrated=None) if drop or recipe.has_network else dataset


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
        calibration=version.calibration,
    )
    return export_training(training, arguments.output)


def _check_flags(arguments: argparse.Namespace, recipe: Recipe, name: str) -> None:
    """Reject flags that would otherwise fail after hours of training."""
    check_new_version(arguments.output, name, arguments.version)
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
