"""Run `cofactor-train search`: search for better hyper-parameters of a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from cofactor_trainer.commands.dataset_flags import add_dataset_flags, load_dataset, print_dataset, require_split
from cofactor_trainer.commands.recipe_flags import add_recipe_flags, recipe_from_flags, resolve_device
from cofactor_trainer.errors import InputError
from cofactor_trainer.training.hyperparameter_search import Trial, search_hyperparameters

_FLAGS = {
    "learning_rate": "--learning-rate",
    "weight_decay": "--weight-decay",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "n_factors": "--factors",
}


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search, and print every trial and the flags of the best one."""
    if arguments.trials < 1:
        raise InputError(f"--trials is {arguments.trials}: it must be at least 1")
    console = Console()
    recipe, device = recipe_from_flags(arguments), resolve_device(arguments.device)
    dataset = load_dataset(arguments)
    split = require_split(dataset, arguments)
    print_dataset(console, dataset, split.validation.n_ratings)

    def print_trial(number: int, trial: Trial) -> None:
        console.print(f"{number:>5}  loss {trial.loss:.4f}  {_as_flags(trial)}", highlight=False, soft_wrap=True)

    best = search_hyperparameters(
        split,
        recipe,
        n_trials=arguments.trials,
        seed=arguments.seed,
        device=device,
        allow_misfit_range=arguments.allow_misfit_range,
        study=arguments.study,
        on_trial=print_trial,
    )[0]
    console.print(f"best: loss {best.loss:.4f} with --recipe {recipe.name} {_as_flags(best)}", soft_wrap=True)
    console.print("evaluate it on another split: cofactor-train evaluate --split-seed 43 ...")
    return 0


def _as_flags(trial: Trial) -> str:
    return " ".join(
        f"{_FLAGS[name]} {value:.3g}" if isinstance(value, float) else f"{_FLAGS[name]} {value}"
        for name, value in trial.settings.items()
    )
