"""`cofactor-train train`: ratings to a version directory."""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cofactor_trainer.architectures.recipes import DEFAULT_RECIPE, RECIPES, Recipe, find_recipe, resolve_range
from cofactor_trainer.commands.data import add_data_flags, load_dataset, parse_pair, parse_seed, split_dataset
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.dataset_builder import without_duplicates
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, evaluate_ratings
from cofactor_trainer.export.ann_index_builder import require_faiss
from cofactor_trainer.export.manifest import check_names
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.training.console_observer import ConsoleObserver
from cofactor_trainer.training.epochs import TrainingResult
from cofactor_trainer.training.observer import CompositeObserver, Observer
from cofactor_trainer.training.tensorboard import TensorBoardObserver
from cofactor_trainer.training.train import train

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "train", help="train a model and export it for the server", description="Train a model and export it."
    )
    add_data_flags(parser)
    add_recipe_flags(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--output", type=Path, default=Path("models"), metavar="DIR", help="default: %(default)s")
    group.add_argument("--name", metavar="NAME", help="of the model (default: the recipe's)")
    group.add_argument("--version", metavar="V", help="of the model (default: the UTC time)")
    group.add_argument(
        "--quantize",
        choices=("int8",),
        help="recommend from 8-bit item factors, scored exactly afterwards: for large catalogues (dot products only)",
    )
    group.add_argument(
        "--approximate",
        action="store_true",
        help="add an index for servers that are to look at part of the catalogue only: for millions of items (dot "
        "products only; needs the approximate extra)",
    )
    add_comfort_flags(parser)
    parser.set_defaults(run=run)


def add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that choose a recipe and change it."""
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--recipe", metavar="NAME", help=f"{', '.join(RECIPES)} (default: {DEFAULT_RECIPE}; ranking to rank)"
    )
    group.add_argument(
        "--objective",
        choices=("rating", "ranking"),
        help="learn to predict ratings, or which items come first (default: the recipe's)",
    )
    group.add_argument("--epochs", type=int, metavar="N")
    group.add_argument("--batch-size", type=int, metavar="N")
    group.add_argument("--learning-rate", type=float, metavar="X")
    group.add_argument("--weight-decay", type=float, metavar="X")
    group.add_argument("--factors", type=int, metavar="N", dest="n_factors")
    group.add_argument("--rating-range", metavar="LOW,HIGH|auto", help="ends of the sigmoid")
    group.add_argument(
        "--allow-misfit-range", action="store_true", help="train even if the range does not hold the ratings"
    )
    group.add_argument("--seed", type=parse_seed, default=42, metavar="N", help="default: %(default)s")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")


def add_comfort_flags(parser: argparse.ArgumentParser) -> None:
    """Flags for long training."""
    group = parser.add_argument_group("long training")
    group.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a lower validation loss")
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="write the state of training after every epoch")
    group.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="log every epoch for TensorBoard (needs the tracking extra)"
    )
    group.add_argument("--resume", action="store_true", help="go on from --checkpoint to the same result")


def run(arguments: argparse.Namespace) -> int:
    """Load, train, export."""
    console = Console()
    recipe = recipe_of(arguments)
    name: str = recipe.name if arguments.name is None else arguments.name
    check_place(arguments.output, name, arguments.version)
    if arguments.resume and arguments.checkpoint is None:
        raise InputError("--resume needs --checkpoint, the file to go on from")
    check_export_flags(arguments, recipe)
    device = resolve_device(arguments.device)
    dataset = load_dataset(arguments)
    resolve_range(recipe, dataset, allow_misfit=arguments.allow_misfit_range)
    split = split_dataset(dataset, arguments)
    train_ratings, validation = (dataset, None) if split is None else (split.train, split.validation)
    print_dataset(console, dataset, None if validation is None else validation.n_ratings)
    console.print(f"recipe: {recipe.name} ({recipe.model}), seed {arguments.seed}, on {device}")
    make_folder(arguments.output / name)
    observers: list[Observer] = []
    if arguments.tensorboard is not None:
        observers.append(TensorBoardObserver(arguments.tensorboard, recipe, arguments.seed))
    with ConsoleObserver(console) as table:
        result = train(
            train_ratings,
            validation,
            recipe,
            seed=arguments.seed,
            device=device,
            observer=CompositeObserver([table, *observers]),
            allow_misfit_range=arguments.allow_misfit_range,
            patience=arguments.patience,
            checkpoint=arguments.checkpoint,
            resume=arguments.resume,
        )
    try:
        path = export_version(
            result.model,
            without_duplicates(train_ratings),
            arguments.output,
            name,
            arguments.version,
            metrics=metrics_of(result, split),
            hyperparameters={**recipe.hyperparameters(), "seed": str(arguments.seed)},
            history=result.history,
            quantize_to=arguments.quantize,
            approximate=arguments.approximate,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"the version cannot be written ({error.strerror or error})", arguments.output) from error
    console.print(f"exported: {path}")
    return 0


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the flags ask for."""
    recipe = find_recipe(arguments.recipe or ("ranking" if arguments.objective == "ranking" else DEFAULT_RECIPE))
    if arguments.objective not in (None, recipe.objective):
        raise InputError(
            f"recipe {recipe.name} is for the objective {recipe.objective}, not {arguments.objective}: "
            "leave out --recipe or --objective"
        )
    named = ("epochs", "batch_size", "learning_rate", "weight_decay", "n_factors")
    changes: dict[str, Any] = {name: value for name in named if (value := getattr(arguments, name)) is not None}
    if arguments.rating_range == "auto":
        changes["rating_range"] = "auto"
    elif arguments.rating_range is not None:
        try:
            changes["rating_range"] = parse_pair(arguments.rating_range)
        except argparse.ArgumentTypeError as error:
            raise InputError(f"--rating-range: {error}") from None
    return replace(recipe, **changes)


def check_export_flags(arguments: argparse.Namespace, recipe: Recipe) -> None:
    """Refuse before training what the export would refuse after it."""
    for flag in ("quantize", "approximate"):
        if getattr(arguments, flag) and recipe.has_network:
            raise InputError(f"--{flag} is for dot products only, and recipe {recipe.name} is a {recipe.model}")
    if arguments.approximate:
        require_faiss()


def check_place(output: Path, name: str, version: str | None) -> None:
    """Refuse names that no version may have, and a version that is there."""
    try:
        # The version that the time names is always a good one.
        check_names(name, "1" if version is None else version)
        is_there = version is not None and (output / name / version).exists()
    except ValueError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"may not be read ({error.strerror}): name another folder with --output", output) from None
    if is_there:
        raise InputError(f"version {version} of model {name} exists; versions never change, choose another")


def make_folder(place: Path) -> None:
    """Make the folder of a model's versions, and see that something can be made in it: a training may take hours."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=place):
            pass
    except OSError as error:
        raise InputError(
            f"versions cannot be written there ({error.strerror}): name another folder with --output", place
        ) from None


def resolve_device(name: str) -> str:
    """A device that works: CUDA where there is any, for "auto"."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): use --device cpu"
        ) from None
    return name


def print_dataset(console: Console, dataset: RatingsDataset, n_validation: int | None) -> None:
    """One line about the ratings."""
    density = dataset.n_ratings / (dataset.n_users * dataset.n_items)
    held_out = "" if n_validation is None else f", {n_validation:,} of them held out"
    console.print(
        f"dataset: {dataset.name}, {dataset.n_ratings:,} ratings of {dataset.rating_min:g} to {dataset.rating_max:g} "
        f"by {dataset.n_users:,} users of {dataset.n_items:,} items ({density:.1%} of the table){held_out}",
        soft_wrap=True,
    )


def metrics_of(result: TrainingResult, split: Split | None) -> dict[str, float]:
    """What the manifest says of the model's quality; no ranking measures where nothing relevant was held out."""
    metrics = {"train_loss": result.history[-1].train_loss}
    if split is None:
        return metrics
    if result.model.objective == "rating":
        return metrics | asdict(evaluate_ratings(result.model, split))
    try:
        ranking = evaluate_ranking(result.model, split)
    except InputError as error:
        logger.warning("the version has no ranking measures: %s", error)
        return metrics
    return metrics | {f"ndcg@{ranking.k}": ranking.ndcg, f"recall@{ranking.k}": ranking.recall}
