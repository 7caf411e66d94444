"""Find a learning rate by the range test (L. N. Smith, Cyclical learning rates for training neural networks, 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from cofactor_trainer.architectures.base import RatingModel
from cofactor_trainer.architectures.batches import Batch, check_batches, rating_tensors
from cofactor_trainer.architectures.factory import build_model
from cofactor_trainer.architectures.optimizer import FlatAdamW
from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import TrainerError
from cofactor_trainer.training.threads import limit_threads

LOWEST, HIGHEST = 1e-5, 1.0
_MOMENTUM = 0.9
_SMOOTHING = 0.95
# The test stops when the loss exceeds this multiple of the lowest loss.
_DIVERGED = 3.0
# A tenth of the rate with the lowest loss still learns fast and does not diverge.
_SAFETY = 10.0


@dataclass(frozen=True)
class LearningRateCurve:
    """Losses at rising learning rates.

    Attributes:
        rates: learning rate of every step, rising.
        losses: smoothed loss of every step.
        suggestion: suggested peak of the one-cycle schedule.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_learning_rate(
    ratings: RatingsDataset,
    recipe: Recipe,
    *,
    seed: int = 42,
    device: str = "cpu",
    n_steps: int = 300,
    allow_misfit_range: bool = False,
) -> LearningRateCurve:
    """Train with a learning rate that rises from 1e-5 to 1, until the loss diverges.

    Args:
        ratings: ratings to learn from.
        recipe: model and hyper-parameters, except the learning rate.
        seed: seed of the initial values, the order of the ratings and dropout.
        device: "cpu", "cuda" or "cuda:N".
        n_steps: number of steps from the lowest rate to the highest.
        allow_misfit_range: train even if some ratings lie outside the range that the model can predict.

    Raises:
        RecipeError: the recipe does not fit the ratings.
        TrainerError: the loss is not finite at the first step.
    """
    rating_range = resolve_range(recipe, ratings, allow_misfit=allow_misfit_range)
    check_batches(recipe, ratings.n_ratings)
    recipe = recipe.adapted_to(ratings.n_ratings)
    rates: list[float] = []
    losses: list[float] = []
    batch_size = recipe.batch_size_for(ratings.n_ratings)
    with limit_threads(batch_size), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(recipe, ratings, rating_range).to(device).train()
        optimizer, average = FlatAdamW(model.decay_groups()), 0.0
        for step, batch in zip(range(n_steps), _endless_batches(model, ratings, batch_size, device), strict=False):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (n_steps - 1))
            optimizer.zero_grad()
            average = _SMOOTHING * average + (1 - _SMOOTHING) * float(model.accumulate_gradient(*batch))
            loss = average / (1 - _SMOOTHING ** (step + 1))
            if not math.isfinite(loss) or (losses and loss > _DIVERGED * min(losses)):
                break
            optimizer.step(rate, _MOMENTUM)
            rates.append(rate)
            losses.append(loss)
    if not losses:
        raise TrainerError("the loss is not finite at the first step: check the ratings and the rating range")
    return LearningRateCurve(tuple(rates), tuple(losses), rates[losses.index(min(losses))] / _SAFETY)


def _endless_batches(model: RatingModel, ratings: RatingsDataset, batch_size: int, device: str) -> Iterator[Batch]:
    columns = rating_tensors(ratings, device)
    while True:
        yield from model.batches(*columns, batch_size)
