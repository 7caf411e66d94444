"""Build the model that a recipe names."""

from __future__ import annotations

import math

import numpy as np

from cofactor_trainer.architectures.base import RatingModel
from cofactor_trainer.architectures.dot_product import DotProduct
from cofactor_trainer.architectures.neural_network import NeuralNetwork
from cofactor_trainer.architectures.recipes import Range, Recipe
from cofactor_trainer.architectures.softmax_ranking import SoftmaxRanking
from cofactor_trainer.architectures.sparse_ranking import SparseRanking
from cofactor_trainer.architectures.svdpp import SvdppModel
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import RecipeError


def build_model(recipe: Recipe, train: RatingsDataset, rating_range: Range | None) -> RatingModel:
    """Build the untrained model of a recipe; its initial values depend only on torch's random state.

    Raises:
        RecipeError: the recipe is a blend, which is not a single model.
    """
    if recipe.model == "blend":
        raise RecipeError(f"recipe {recipe.name} is a blend of several models: choose another recipe")
    if recipe.model == "ranking":
        return SoftmaxRanking(recipe, train)
    if recipe.model == "sparse-ranking":
        return SparseRanking(recipe, train)
    global_bias = _logit_of_mean(train, rating_range) if recipe.centred else 0.0
    if recipe.model in ("implicit-dot-product", "implicit-neural-network", "hybrid"):
        return SvdppModel(recipe, train, rating_range, global_bias)
    architecture = NeuralNetwork if recipe.model == "neural-network" else DotProduct
    return architecture(recipe, train.n_users, train.n_items, rating_range, global_bias)


def _logit_of_mean(train: RatingsDataset, rating_range: Range | None) -> float:
    """Return the logit that predicts the mean rating, or 0 if the mean is outside the range."""
    mean = float(train.ratings.mean(dtype=np.float64))
    if rating_range is None:
        return mean
    low, high = rating_range
    probability = (mean - low) / (high - low)
    return math.log(probability / (1 - probability)) if 0 < probability < 1 else 0.0
