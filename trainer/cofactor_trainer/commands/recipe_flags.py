"""Declare the flags that choose and change a recipe, and resolve them."""

from __future__ import annotations

import argparse
from typing import Any

from cofactor_trainer.architectures.recipes import DEFAULT_RECIPE, EVENT_RECIPE, RECIPES, Recipe, find_recipe
from cofactor_trainer.commands.event_flags import learns_from_events
from cofactor_trainer.commands.flag_values import parse_pair, parse_seed
from cofactor_trainer.errors import InputError

_SETTINGS = ("epochs", "batch_size", "learning_rate", "weight_decay", "n_factors")


def add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that choose a recipe, change it, and say where it trains."""
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"{', '.join(RECIPES)} (default: {DEFAULT_RECIPE}; {EVENT_RECIPE} for events; ranking with --objective "
        "ranking)",
    )
    group.add_argument(
        "--objective",
        choices=("rating", "ranking"),
        help="predict ratings, or rank items (default: the recipe's objective)",
    )
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the ratings")
    group.add_argument("--batch-size", type=int, metavar="N", help="ratings per step; users per step to rank")
    group.add_argument("--learning-rate", type=float, metavar="X", help="highest learning rate of the schedule")
    group.add_argument("--weight-decay", type=float, metavar="X", help="weight decay of the factors")
    group.add_argument("--factors", type=int, metavar="N", dest="n_factors", help="factors per user and item")
    group.add_argument(
        "--no-ranking-part",
        action="store_true",
        help="only predict ratings: leave out the part that learns the order of the recommendations",
    )
    group.add_argument(
        "--rating-range", metavar="LOW,HIGH|auto", help="ends of the sigmoid; auto extends the rating scale a little"
    )
    group.add_argument(
        "--allow-misfit-range", action="store_true", help="train even if some ratings are outside the rating range"
    )
    group.add_argument(
        "--seed", type=parse_seed, default=42, metavar="N", help="seed of the training (default: %(default)s)"
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")


def recipe_from_flags(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe that the flags choose, with the settings that they change.

    Raises:
        InputError: the recipe is not for the objective, or not for a dataset of events.
    """
    has_events = learns_from_events(arguments)
    has_ratings = arguments.feedback == "both"
    if has_ratings:
        default = DEFAULT_RECIPE
    else:
        default = EVENT_RECIPE if has_events else "ranking" if arguments.objective == "ranking" else DEFAULT_RECIPE
    recipe = find_recipe(arguments.recipe or default)
    if has_ratings:
        _check_two_parts(recipe, arguments)
    elif has_events and recipe.objective != "ranking":
        raise InputError(
            f"recipe {recipe.name} predicts ratings, but the dataset has events: leave out --recipe, or choose "
            f"{EVENT_RECIPE} or ranking"
        )
    if arguments.objective not in (None, recipe.objective):
        raise InputError(
            f"recipe {recipe.name} is for the objective {recipe.objective}, not {arguments.objective}: "
            "leave out --recipe or --objective"
        )
    changes: dict[str, Any] = {name: value for name in _SETTINGS if (value := getattr(arguments, name)) is not None}
    if arguments.no_ranking_part:
        changes["ranking"] = ()
    if arguments.rating_range == "auto":
        changes["rating_range"] = "auto"
    elif arguments.rating_range is not None:
        try:
            changes["rating_range"] = parse_pair(arguments.rating_range)
        except argparse.ArgumentTypeError as error:
            raise InputError(f"--rating-range: {error}") from None
    return recipe.with_settings(**changes)


def _check_two_parts(recipe: Recipe, arguments: argparse.Namespace) -> None:
    """Refuse what does not learn from ratings and events, with --feedback both."""
    if recipe.objective == "ranking" or arguments.objective == "ranking":
        raise InputError(
            "--feedback both learns to predict ratings and to rank, but the recipe or --objective only ranks: pass "
            f"--feedback events, or --recipe {DEFAULT_RECIPE}"
        )
    if arguments.no_ranking_part or not recipe.ranking:
        what = "--no-ranking-part" if arguments.no_ranking_part else f"recipe {recipe.name}"
        raise InputError(
            f"--feedback both needs a ranking part to learn from the events, but {what} has none: leave it out, or "
            "pass --feedback ratings"
        )


def resolve_device(name: str) -> str:
    """Return a device that works; "auto" is CUDA if there is any, else the CPU."""
    import torch  # it takes seconds, and `--help` declares flags only

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): use --device cpu"
        ) from None
    return name
