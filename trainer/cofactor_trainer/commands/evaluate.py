"""Run `cofactor-train evaluate`: compare a recipe with baselines on held-out ratings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.commands.dataset_flags import load_dataset, print_dataset
from cofactor_trainer.commands.metrics_protocol import evaluation_protocol
from cofactor_trainer.commands.recipe_flags import recipe_from_flags, resolve_device
from cofactor_trainer.commands.small_tables import warn_of_small_table
from cofactor_trainer.commands.split_flags import require_split
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.events.splits import event_folds
from cofactor_trainer.data.splits import Split, fold_masks, k_folds
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.baselines import fit_biases, fit_popularity, fit_recent_popularity
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, evaluate_ratings
from cofactor_trainer.evaluation.sequential_test import FEWEST, Comparison, Successes, compare_rates
from cofactor_trainer.evaluation.served_lists import ExploredItems, ServedLists
from cofactor_trainer.scoring.trained_model import BY_RATING, Order, TrainedModel
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.rated_rows import train_on_ratings

Metrics = dict[str, float]

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
    "first_item_share": "share of the most frequent first item",
}


def run(arguments: argparse.Namespace) -> int:
    """Train and evaluate on every split, and print the means; with --from-log, compare served versions instead."""
    if arguments.from_log is not None:
        return _evaluate_log(arguments)
    if arguments.versions or arguments.success:
        raise InputError("--versions and --success are for --from-log: name the folder of an exported log with it")
    if arguments.top < 1:
        raise InputError(f"--top is {arguments.top}: it must be at least 1")
    recipe, device = recipe_from_flags(arguments), resolve_device(arguments.device)
    dataset = load_dataset(arguments)
    if arguments.repeats and dataset.events is None:
        raise InputError("--repeats is for events, but the dataset has ratings: leave it out")
    splits = _splits(dataset, arguments)
    warn_of_small_table(recipe, splits[0].train.rated or splits[0].train)
    results = []
    for split in splits:
        model = train_on_ratings(
            split.train,
            None,
            recipe,
            seed=arguments.seed,
            device=device,
            allow_misfit_range=arguments.allow_misfit_range,
        ).model
        model = add_ranking_part(model, split.train, recipe, seed=arguments.seed, device=device)
        results.append(evaluate_with_baselines(model, recipe.name, split, arguments.top, arguments.repeats))
    means = {name: _mean([result[name] for result in results]) for name in results[0]}
    # Every model ranks for the same users.
    protocol = evaluation_protocol(arguments, splits, means["popularity"].get("n_users", 0.0))
    for metrics in means.values():
        metrics.pop("n_users", None)
    if arguments.json:
        output = {"k": arguments.top, "splits": len(results), "protocol": asdict(protocol), "measures": means}
        print(json.dumps(output, indent=2))
        return 0
    console = Console()
    print_dataset(console, dataset, None if arguments.folds else splits[0].validation.n_ratings)
    for line in protocol.lines():
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    _print(console, means, arguments, recipe)
    return 0


def _evaluate_log(arguments: argparse.Namespace) -> int:
    """Compare two versions on the lists that they served."""
    lists = ServedLists(arguments.from_log, arguments.success)
    known = lists.versions()
    versions = list(arguments.versions or known[:2])
    if len(versions) != 2:
        raise InputError(
            f"--from-log compares two versions, and the log has {', '.join(known) or 'none'}: give CURRENT,CANARY"
        )
    if unknown := [version for version in versions if version not in known]:
        raise InputError(f"--versions: the log has no lists of {unknown[0]}, but of {', '.join(known)}")
    groups = [lists.first_lists_of(version) for version in versions]
    explored = {version: lists.explored_items_of(version) for version in versions}
    comparison = compare_rates(groups[0], groups[1])
    if arguments.json:
        output = {
            "versions": {version: asdict(group) for version, group in zip(versions, groups, strict=True)},
            "comparison": None if comparison is None else asdict(comparison),
            "explored": {version: asdict(items) for version, items in explored.items() if items is not None},
        }
        print(json.dumps(output, indent=2))
        return 0
    for line in describe_log(versions, groups, comparison, explored):
        Console().print(line, soft_wrap=True, markup=False, highlight=False)
    return 0


def describe_log(
    versions: Sequence[str],
    groups: Sequence[Successes],
    comparison: Comparison | None,
    explored: Mapping[str, ExploredItems | None],
) -> list[str]:
    """Say how two versions compare."""
    lines = [
        f"{version}: {group.n_successes:,} of {group.n:,} users ({group.rate:.2%}) chose something of their first list"
        for version, group in zip(versions, groups, strict=True)
    ]
    if comparison is None:
        lines.append(f"too few users to compare: each version needs {FEWEST}")
    else:
        is_clear = comparison.low > 0 or comparison.high < 0
        better = "no difference is shown yet" if not is_clear else f"{versions[comparison.difference > 0]} is better"
        lines.append(
            f"difference {comparison.difference:+.2%} (95 % interval {comparison.low:+.2%} to {comparison.high:+.2%}, "
            f"p {comparison.p_value:.2g}, valid however often you look): {better}"
        )
    lines += [
        f"{version}: explored items: {items.n:,} places, {items.rate_as_drawn:.2%} chosen; over all items that could "
        f"be drawn {items.rate_of_all:.2%} ± {1.96 * items.standard_error:.2%} (inverse propensity)"
        for version, items in explored.items()
        if items is not None
    ]
    return lines


def evaluate_with_baselines(
    model: TrainedModel, name: str, split: Split, k: int, repeats: bool = False
) -> dict[str, Metrics]:
    """Return the metrics of the baselines and of a model, by name; each has only the metrics that apply to it."""
    if split.train.events is not None:
        return _evaluate_events(model, name, split, k, repeats)
    biases = fit_biases(split.train)
    metrics = {
        "popularity": _ranking(fit_popularity(split.train), split, k, 0.0),
        "biases only": asdict(evaluate_ratings(biases, split)) | _ranking(biases, split, k, 0.0),
    }
    if model.objective == "ranking":
        return metrics | {name: _ranking(model, split, k, 0.0)}
    measured = {name: asdict(evaluate_ratings(model, split)) | _ranking(model, split, k, 0.0)}
    if model.n_ranking_factors:
        measured[f"{name}, by rating"] = _ranking(model, split, k, 0.0, BY_RATING)
    measured[f"{name}, popularity-corrected"] = _ranking(model, split, k, 1.0, BY_RATING)
    return metrics | measured


def _evaluate_events(model: TrainedModel, name: str, split: Split, k: int, repeats: bool) -> dict[str, Metrics]:
    models = {"popularity": fit_popularity(split.train)}
    if split.train.timestamps is not None:
        models["recent popularity"] = fit_recent_popularity(split.train)
    models[name] = model
    measured = {title: _ranking(fitted, split, k, 0.0, includes_rated=repeats) for title, fitted in models.items()}
    if split.train.rated is None:
        return measured
    # The errors are those of the ratings among the held-out events.
    ratings = split.of_ratings()
    measured["biases only"] = asdict(evaluate_ratings(fit_biases(ratings.train), ratings))
    measured[name] = asdict(evaluate_ratings(model, ratings)) | measured[name]
    return measured


def _ranking(
    model: TrainedModel,
    split: Split,
    k: int,
    popularity_weight: float,
    order: Order | None = None,
    includes_rated: bool = False,
) -> Metrics:
    """Return the ranking metrics of an order, None for the model's own; or none if no held-out rating is relevant."""
    try:
        metrics = asdict(
            evaluate_ranking(
                model, split, k, order=order, popularity_weight=popularity_weight, includes_rated=includes_rated
            )
        )
    except InputError:
        return {}
    return {name: value for name, value in metrics.items() if name != "k"}


def _splits(dataset: RatingsDataset, arguments: argparse.Namespace) -> Sequence[Split]:
    if arguments.folds is not None:
        if arguments.split == "predefined":
            raise InputError("--folds makes splits of its own: leave it out, or leave out --split predefined")
        if dataset.events is not None:
            folds = partial(fold_masks, n_folds=arguments.folds, seed=arguments.split_seed)
            return list(event_folds(dataset, folds))
        return list(k_folds(dataset, arguments.folds, arguments.split_seed))
    return [require_split(dataset, arguments)]


def _mean(results: Sequence[Metrics]) -> Metrics:
    """Average each metric over the results that have it."""
    names = dict.fromkeys(name for result in results for name in result)
    return {name: float(np.mean([result[name] for result in results if name in result])) for name in names}


def _print(console: Console, results: Mapping[str, Metrics], arguments: argparse.Namespace, recipe: Recipe) -> None:
    splits = f"{arguments.folds} folds" if arguments.folds else f"split {arguments.split}"
    console.print(f"recipe {recipe.name}, {splits}, seed {arguments.seed}")
    table = Table("")
    for name in results:
        table.add_column(name, justify="right", overflow="fold")
    for key, title in _TITLES.items():
        if not any(key in metrics for metrics in results.values()):
            continue
        values = (f"{metrics[key]:.4f}" if key in metrics else "-" for metrics in results.values())
        table.add_row(title.format(k=arguments.top), *values)
    console.print(table)
    if not any("recall" in metrics for metrics in results.values()):
        console.print("no ranking metrics: no held-out rating is relevant", soft_wrap=True)
