"""The recipe that errs least: a Bayesian model and two hybrids, averaged and put back into one dot product.

Their mean prediction for every user and item is one matrix of ratings. Its logits, less the means of rows and
columns, are cut to the largest singular values (C. Eckart and G. Young, 1936), and what comes out is a dot product
with biases like any other: it exports, serves and takes new users as they do.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from cofactor_trainer.architectures.bayesian_mf import GibbsSampler
from cofactor_trainer.architectures.collapse import append_unknown_row, rarely_rated_items
from cofactor_trainer.architectures.recipes import Range, Recipe, find_recipe, resolve_range
from cofactor_trainer.data.dataset import Float32Array, RatingsDataset
from cofactor_trainer.data.features import side_features
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.evaluation.validation_loss import validation_loss
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits, ratings_of_logits
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.epochs import EpochResult, Observer, TrainingResult
from cofactor_trainer.training.loop import train_by_epochs

# The matrix of every user and item is kept whole, in 4 bytes a cell.
MAX_CELLS = 50_000_000
# Tuned on ML-100k, split 7; docs/decisions/0003-recipes.md.
GIBBS_WEIGHT = 0.6
GIBBS_FACTORS = 20
BURN_IN = 20
N_HYBRIDS = 2
# Ratings are kept this far from the ends of the range, in shares of it: a logit there would be infinite.
_MARGIN = 0.01


def train_blend(
    ratings: RatingsDataset,
    validation: RatingsDataset | None,
    recipe: Recipe,
    rating_range: Range | None,
    *,
    seed: int,
    device: str,
    observer: Observer | None,
) -> TrainingResult:
    """Train all members and blend them; an epoch is a sweep of the sampler, and the last one is judged blended.

    Raises:
        RecipeError: more users times items than fit the matrix, or too few sweeps.
    """
    if rating_range is None:
        raise RecipeError(f"recipe {recipe.name} needs a rating range: use auto")
    cells = ratings.n_users * ratings.n_items
    if cells > MAX_CELLS:
        raise RecipeError(
            f"recipe {recipe.name} predicts every user and item at once, {cells:,} cells of at most {MAX_CELLS:,}: "
            "use dot-bias or hybrid for ratings of this size"
        )
    if recipe.epochs <= BURN_IN:
        raise RecipeError(f"epochs is {recipe.epochs}: recipe {recipe.name} needs more than {BURN_IN}, its burn-in")
    started = time.perf_counter()
    blend, train_error = _posterior_mean(ratings, recipe, seed, observer)
    blend *= GIBBS_WEIGHT
    everyone = np.arange(ratings.n_users)
    for number in range(N_HYBRIDS):
        member = _hybrid(ratings, seed + number, device)
        blend += ratings_of_logits(member, predict_all_logits(member, everyone)) * ((1 - GIBBS_WEIGHT) / N_HYBRIDS)
    model = distil(blend, ratings, rating_range, recipe.n_factors or min(blend.shape), seed)
    loss = None if validation is None else validation_loss(model, validation)
    result = EpochResult(recipe.epochs, train_error, loss, time.perf_counter() - started)
    if observer is not None:
        observer.on_epoch(result)
    return TrainingResult(model, (result,))


def _hybrid(ratings: RatingsDataset, seed: int, device: str) -> TrainedModel:
    """Train one hybrid of the blend."""
    recipe = find_recipe("hybrid")
    return train_by_epochs(ratings, None, recipe, resolve_range(recipe, ratings), seed=seed, device=device).model


def distil(
    predicted: Float32Array, train: RatingsDataset, rating_range: Range, n_factors: int, seed: int
) -> TrainedModel:
    """The dot product nearest to a matrix of predicted ratings, (n_users, n_items), in squared error of the logits."""
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


def _posterior_mean(
    ratings: RatingsDataset, recipe: Recipe, seed: int, observer: Observer | None
) -> tuple[Float32Array, float]:
    """Mean prediction of the samples, (n_users, n_items), within the scale; and the last sample's train error."""
    sampler = GibbsSampler(ratings, *side_features(ratings), GIBBS_FACTORS, seed)
    total = np.zeros((ratings.n_users, ratings.n_items), np.float32)
    n_ratings, n_samples = ratings.n_ratings, recipe.epochs - BURN_IN
    for sweep in range(recipe.epochs):
        sampler.sweep()
        if sweep >= BURN_IN:
            users, items = sampler.collapse()
            total += users[:, :-1] @ items[:, :-1].T
            total += users[:, -1:] + items[:, -1]
        if observer is not None:
            observer.on_progress((sweep + 1) * n_ratings, recipe.epochs * n_ratings)
    mean = total / np.float32(n_samples) + np.float32(sampler.mean)
    return mean.clip(ratings.rating_min, ratings.rating_max), sampler.train_error
