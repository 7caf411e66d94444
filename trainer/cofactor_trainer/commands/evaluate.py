"""`cofactor-train evaluate`: a recipe beside the baselines, on ratings that were held out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.commands.data import add_data_flags, load_dataset, split_dataset
from cofactor_trainer.commands.train import add_recipe_flags, print_dataset, recipe_of, resolve_device
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.splits import Split, k_folds
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.baselines import fit_biases, fit_popularity
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, evaluate_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.train import train

Measures = dict[str, float]

_TITLES = {
    "mse": "MSE",
    "rmse": "RMSE",
    "mae": "MAE",
    "recall": "Recall@{k}",
    "ndcg": "NDCG@{k}",
    "mrr": "MRR@{k}",
    "hit_rate": "HitRate@{k}",
    "coverage": "coverage",
    "popularity_lift": "popularity lift",
}


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "evaluate",
        help="judge a recipe beside the baselines",
        description="Train a recipe on a part of the ratings and judge it, popularity and biases alone on the rest.",
    )
    add_data_flags(parser)
    add_recipe_flags(parser)
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--folds", type=int, metavar="N", help="cross-validate: mean over N splits, all ratings judged once"
    )
    group.add_argument("--top", type=int, default=10, metavar="K", help="recommendations judged (default: %(default)s)")
    group.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train and judge on every split, print the means."""
    if arguments.top < 1:
        raise InputError(f"--top is {arguments.top}: it must be at least 1")
    recipe, device = recipe_of(arguments), resolve_device(arguments.device)
    dataset = load_dataset(arguments)
    splits = _splits(dataset, arguments)
    rounds = []
    for split in splits:
        model = train(
            split.train,
            None,
            recipe,
            seed=arguments.seed,
            device=device,
            allow_misfit_range=arguments.allow_misfit_range,
        ).model
        rounds.append(judge(model, recipe.name, split, arguments.top))
    measured = {name: _mean([one[name] for one in rounds]) for name in rounds[0]}
    if arguments.json:
        print(json.dumps({"k": arguments.top, "splits": len(rounds), "measures": measured}, indent=2))
        return 0
    console = Console()
    print_dataset(console, dataset, None if arguments.folds else splits[0].validation.n_ratings)
    _print(console, measured, arguments, recipe)
    return 0


def judge(model: TrainedModel, name: str, split: Split, k: int) -> dict[str, Measures]:
    """Measures of a model, and of the baselines, by name; a measure that makes no sense for one is left out."""
    biases = fit_biases(split.train)
    found = {
        "popularity": _ranking(fit_popularity(split.train), split, k, 0.0),
        "biases only": asdict(evaluate_ratings(biases, split)) | _ranking(biases, split, k, 0.0),
    }
    if model.objective == "ranking":
        return found | {name: _ranking(model, split, k, 0.0)}
    return found | {
        name: asdict(evaluate_ratings(model, split)) | _ranking(model, split, k, 0.0),
        f"{name}, popularity-corrected": _ranking(model, split, k, 1.0),
    }


def _ranking(model: TrainedModel, split: Split, k: int, popularity_weight: float) -> Measures:
    """The ranking measures; none where nothing relevant was held out."""
    try:
        measured = asdict(evaluate_ranking(model, split, k, popularity_weight=popularity_weight))
    except InputError:
        return {}
    return {name: value for name, value in measured.items() if name not in ("k", "n_users")}


def _splits(dataset: RatingsDataset, arguments: argparse.Namespace) -> Sequence[Split]:
    if arguments.folds is not None:
        return list(k_folds(dataset, arguments.folds, arguments.split_seed))
    split = split_dataset(dataset, arguments)
    if split is None:
        raise InputError("--validation-fraction is 0: nothing is held out to judge by")
    return [split]


def _mean(rounds: Sequence[Measures]) -> Measures:
    """Means over the rounds that have the measure."""
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: float(np.mean([one[name] for one in rounds if name in one])) for name in names}


def _print(console: Console, measured: Mapping[str, Measures], arguments: argparse.Namespace, recipe: Recipe) -> None:
    place = f"{arguments.folds} folds" if arguments.folds else f"split {arguments.split}"
    console.print(f"recipe {recipe.name}, {place}, seed {arguments.seed}")
    table = Table("")
    for name in measured:
        table.add_column(name, justify="right")
    for key, title in _TITLES.items():
        values = (f"{measures[key]:.4f}" if key in measures else "-" for measures in measured.values())
        table.add_row(title.format(k=arguments.top), *values)
    console.print(table)
    if not any("recall" in measures for measures in measured.values()):
        console.print("no ranking measures: no held-out rating is relevant", soft_wrap=True)
