"""Group what every training algorithm needs."""

from __future__ import annotations

from dataclasses import dataclass

from cofactor_trainer.architectures.recipes import Range, Recipe
from cofactor_trainer.data.dataset import RatingsDataset


@dataclass(frozen=True)
class TrainingTask:
    """A recipe and the ratings to train it on.

    Attributes:
        ratings: ratings to learn from.
        validation: held-out ratings, with the rows of ``ratings``; None to train without validation.
        recipe: model and hyper-parameters.
        rating_range: ends of the sigmoid, fitted to the ratings; None for no sigmoid.
        seed: seed of the initial values, the order of the ratings and dropout.
        device: "cpu", "cuda" or "cuda:N".
    """

    ratings: RatingsDataset
    validation: RatingsDataset | None
    recipe: Recipe
    rating_range: Range | None
    seed: int
    device: str
