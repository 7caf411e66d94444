"""Warn of tables that are too small or too large for a recipe."""

from __future__ import annotations

import logging

from cofactor_trainer.architectures.recipes import LARGE_RECIPE, Recipe
from cofactor_trainer.data.dataset import RatingsDataset

logger = logging.getLogger(__name__)

FEWEST_RATINGS = 500
FEWEST_PER_ROW = 3.0
# A network without a dot product is worse than biases alone below about this number (docs/decisions/0003-recipes.md).
FEWEST_FOR_A_NETWORK = 10_000
# The recipe `ranking` keeps values, gradients and two moments of every number.
BYTES_PER_NUMBER, MANY_BYTES = 16, 2_000_000_000


def warn_of_large_table(recipe: Recipe, train: RatingsDataset) -> None:
    """Log a warning if the factors of a recipe that ranks need much memory, and another recipe does not."""
    if recipe.model != "ranking":
        return
    n_bytes = (train.n_users + 2 * train.n_items) * (recipe.n_factors or 0) * BYTES_PER_NUMBER
    if n_bytes > MANY_BYTES:
        logger.warning(
            "recipe %s needs %.0f GB of memory for the factors of %s users and %s items: --recipe %s needs far less",
            recipe.name,
            n_bytes / 1e9,
            f"{train.n_users:,}",
            f"{train.n_items:,}",
            LARGE_RECIPE,
        )


def warn_of_small_table(recipe: Recipe, train: RatingsDataset) -> None:
    """Log a warning if a recipe that predicts ratings will hardly learn more than biases from these ratings."""
    if recipe.objective == "ranking":
        return
    n_ratings, n_rows = train.n_ratings, max(train.n_users, train.n_items)
    if n_ratings < FEWEST_RATINGS or n_ratings < FEWEST_PER_ROW * n_rows:
        logger.warning(
            "%s training ratings by %s users of %s items are few to learn factors from: expect little more than the "
            "mean ratings of users and items, and compare with the biases of cofactor-train evaluate",
            *(f"{number:,}" for number in (n_ratings, train.n_users, train.n_items)),
        )
    elif recipe.has_network and recipe.model != "hybrid" and n_ratings < FEWEST_FOR_A_NETWORK:
        logger.warning(
            "%s training ratings are few for recipe %s, a network without biases: dot-bias and hybrid are better below "
            "%s",
            f"{n_ratings:,}",
            recipe.name,
            f"{FEWEST_FOR_A_NETWORK:,}",
        )
