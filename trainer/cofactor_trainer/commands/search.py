"""Run `cofactor-train search`: search for better hyper-parameters of a recipe."""

from __future__ import annotations

import argparse

from rich.console import Console

from cofactor_trainer.commands.dataset_flags import load_dataset, print_dataset
from cofactor_trainer.commands.event_flags import OF_RATINGS
from cofactor_trainer.commands.recipe_flags import recipe_from_flags, resolve_device
from cofactor_trainer.commands.split_flags import require_split
from cofactor_trainer.errors import InputError
from cofactor_trainer.training.hyperparameter_search import Trial, search_hyperparameters
from cofactor_trainer.training.rated_rows import rated_split

_FLAGS = {
    "learning_rate": "--learning-rate",
    "weight_decay": "--weight-decay",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "n_factors": "--factors",
}


def run(arguments: argparse.Namespace) -> int:
    """Search, and print every trial and the flags of the best one."""
    if arguments.trials < 1:
        raise InputError(f"--trials is {arguments.trials}: it must be at least 1")
    console = Console()
    recipe, device = recipe_from_flags(arguments), resolve_device(arguments.device)
    dataset = load_dataset(arguments)
    split = require_split(dataset, arguments)
    print_dataset(console, dataset, split.validation.n_ratings)
    if dataset.given_ratings is not None:
        console.print(OF_RATINGS, soft_wrap=True, markup=False, highlight=False)
    split = rated_split(split)

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
