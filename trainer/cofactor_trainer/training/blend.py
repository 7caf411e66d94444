"""Train the most accurate recipe: Bayesian models and two hybrids, averaged into one dot product.

The mean of their predictions is a matrix with the rating of every user for every item. Its logits, less the means of
rows and columns, are approximated by a truncated singular value decomposition (C. Eckart and G. Young, 1936). The
result is a dot product with biases like any other: it is exported, served and folds in new users in the same way.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from cofactor_trainer.architectures.bayesian_mf import GibbsSampler
from cofactor_trainer.architectures.collapse import append_unknown_row, rarely_rated_items
from cofactor_trainer.architectures.ordered_probit import OrdinalSampler, has_levels
from cofactor_trainer.architectures.recipes import Range, Recipe, find_recipe, resolve_range
from cofactor_trainer.data.dataset import Float32Array, RatingsDataset
from cofactor_trainer.data.features import side_features
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.evaluation.validation_loss import validation_loss
from cofactor_trainer.scoring.numpy_scorer import logits_to_ratings, predict_all_logits
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.epochs import EpochResult, TrainingResult
from cofactor_trainer.training.loop import train_by_gradient_descent
from cofactor_trainer.training.observer import Observer
from cofactor_trainer.training.task import TrainingTask

# The matrix of every user and item is in memory as a whole, 4 bytes per cell.
MAX_CELLS = 50_000_000
# Tuned on ML-100k, split 7; docs/decisions/0003-recipes.md.
GIBBS_WEIGHT = 0.6
GIBBS_FACTORS = 20
BURN_IN = 20
N_HYBRIDS = 2
# Predictions are clipped this far from the ends of the rating range, as a share of it: a logit there is infinite.
_MARGIN = 0.01


def train_blend(task: TrainingTask, observer: Observer | None = None) -> TrainingResult:
    """Train all members and blend them.

    An epoch is a sweep of every Gibbs sampler. Only the blend has an epoch result, under the number of the last sweep.

    Raises:
        RecipeError: the matrix of users and items is too large, the recipe has too few epochs, or no rating range.
    """
    ratings, recipe = task.ratings, task.recipe
    if task.rating_range is None:
        raise RecipeError(f"recipe {recipe.name} needs a rating range: use auto")
    _check_size(ratings, recipe)
    started = time.perf_counter()
    blend, train_error = _posterior_mean(ratings, recipe, task.seed, observer)
    blend *= GIBBS_WEIGHT
    user_rows = np.arange(ratings.n_users)
    for number in range(N_HYBRIDS):
        hybrid = _train_hybrid(task, task.seed + number)
        predicted = logits_to_ratings(hybrid, predict_all_logits(hybrid, user_rows))
        blend += predicted * ((1 - GIBBS_WEIGHT) / N_HYBRIDS)
    model = factorize_predictions(blend, ratings, task.rating_range, recipe.n_factors or min(blend.shape), task.seed)
    loss = None if task.validation is None else validation_loss(model, task.validation)
    result = EpochResult(recipe.epochs, train_error, loss, time.perf_counter() - started)
    if observer is not None:
        observer.on_epoch(result)
    return TrainingResult(model, (result,), recipe.epochs)


def factorize_predictions(
    predicted: Float32Array, train: RatingsDataset, rating_range: Range, n_factors: int, seed: int
) -> TrainedModel:
    """Approximate a matrix of predicted ratings by a dot product with biases.

    predicted (n_users, n_items). The biases are the means of rows and columns of the logits. The factors minimise the
    squared error of the remaining logits (C. Eckart and G. Young, The approximation of one matrix by another of lower
    rank, 1936), up to the error of a randomised decomposition (N. Halko, P.-G. Martinsson and J. Tropp, 2011).
    """
    low, high = rating_range
    shares = np.clip((predicted - low) / (high - low), _MARGIN, 1 - _MARGIN)
    logits = torch.from_numpy(np.log(shares) - np.log1p(-shares))
    mean = float(logits.mean())
    user_bias = logits.mean(1) - mean
    item_bias = logits.mean(0) - mean
    logits -= mean + user_bias[:, None] + item_bias
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rank = min(n_factors, *logits.shape)
        left, values, right = torch.svd_lowrank(logits, q=min(rank + 10, *logits.shape), niter=4)
    root = values[:rank].sqrt()
    rare = rarely_rated_items(train)
    return TrainedModel(
        architecture="dot-product",
        objective="rating",
        user_factors=append_unknown_row(left[:, :rank] * root),
        user_bias=append_unknown_row(user_bias),
        item_factors=append_unknown_row(right[:, :rank] * root, rare),
        item_bias=append_unknown_row(item_bias, rare),
        global_bias=mean,
        rating_range=rating_range,
        n_dot_factors=rank,
    )


def _check_size(ratings: RatingsDataset, recipe: Recipe) -> None:
    cells = ratings.n_users * ratings.n_items
    if cells > MAX_CELLS:
        raise RecipeError(
            f"recipe {recipe.name} predicts every user and item at once, {cells:,} cells of at most {MAX_CELLS:,}: "
            "use dot-bias or hybrid for ratings of this size"
        )
    if recipe.epochs <= BURN_IN:
        raise RecipeError(f"epochs is {recipe.epochs}: recipe {recipe.name} needs more than {BURN_IN}, its burn-in")


def _train_hybrid(task: TrainingTask, seed: int) -> TrainedModel:
    recipe = find_recipe("hybrid").adapted_to(task.ratings.n_ratings)
    rating_range = resolve_range(recipe, task.ratings)
    return train_by_gradient_descent(
        replace(task, validation=None, recipe=recipe, rating_range=rating_range, seed=seed)
    ).model


def _posterior_mean(
    ratings: RatingsDataset, recipe: Recipe, seed: int, observer: Observer | None
) -> tuple[Float32Array, float]:
    """Average the predictions of the Gibbs samples after the burn-in, clipped to the rating scale.

    Returns:
        The mean predictions (n_users, n_items), and the training error of the last sample of the first sampler.
    """
    samplers = _make_samplers(ratings, seed)
    mean = np.zeros((ratings.n_users, ratings.n_items), np.float32)
    n_sweeps, share = recipe.epochs * len(samplers), np.float32(1 / len(samplers))
    for number, sampler in enumerate(samplers):
        total = np.zeros_like(mean)
        for sweep in range(recipe.epochs):
            sampler.sweep()
            if sweep >= BURN_IN:
                total += sampler.predictions()
            if observer is not None:
                done = number * recipe.epochs + sweep + 1
                observer.on_progress(done * ratings.n_ratings, n_sweeps * ratings.n_ratings)
        total /= recipe.epochs - BURN_IN
        mean += share * total.clip(ratings.rating_min, ratings.rating_max)
    return mean, samplers[0].train_error


def _make_samplers(ratings: RatingsDataset, seed: int) -> tuple[GibbsSampler, GibbsSampler]:
    """Return two samplers: both take ratings for numbers, or the second one takes levels for ordered outcomes."""
    features = side_features(ratings)
    first = GibbsSampler(ratings, *features, GIBBS_FACTORS, seed)
    if has_levels(ratings.ratings):
        return first, OrdinalSampler(ratings, *features, GIBBS_FACTORS, seed)
    return first, GibbsSampler(ratings, *features, GIBBS_FACTORS, seed + 1)
