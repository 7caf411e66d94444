"""`cofactor-train search`: better hyper-parameters for a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from cofactor_trainer.commands.data import add_data_flags, load_dataset, split_dataset
from cofactor_trainer.commands.train import add_recipe_flags, print_dataset, recipe_of, resolve_device
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
    add_data_flags(parser)
    add_recipe_flags(parser)
    group = parser.add_argument_group("search")
    group.add_argument("--trials", type=int, default=30, metavar="N", help="in all (default: %(default)s)")
    group.add_argument("--study", type=Path, metavar="FILE", help="keep the trials here, and go on from them")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search, print every trial and the flags of the best one."""
    if arguments.trials < 1:
        raise InputError(f"--trials is {arguments.trials}: it must be at least 1")
    console = Console()
    recipe, device = recipe_of(arguments), resolve_device(arguments.device)
    dataset = load_dataset(arguments)
    split = split_dataset(dataset, arguments)
    if split is None:
        raise InputError("--validation-fraction is 0: nothing is held out to judge by")
    print_dataset(console, dataset, split.validation.n_ratings)

    def show(number: int, trial: Trial) -> None:
        console.print(f"{number:>5}  loss {trial.loss:.4f}  {_as_flags(trial)}", highlight=False, soft_wrap=True)

    best = search_hyperparameters(
        split,
        recipe,
        n_trials=arguments.trials,
        seed=arguments.seed,
        device=device,
        allow_misfit_range=arguments.allow_misfit_range,
        study=arguments.study,
        on_trial=show,
    )[0]
    console.print(f"best: loss {best.loss:.4f} with --recipe {recipe.name} {_as_flags(best)}", soft_wrap=True)
    console.print("judge it on another split: cofactor-train evaluate --split-seed 43 ...")
    return 0


def _as_flags(trial: Trial) -> str:
    return " ".join(
        f"{_FLAGS[name]} {value:.3g}" if isinstance(value, float) else f"{_FLAGS[name]} {value}"
        for name, value in trial.settings.items()
    )
