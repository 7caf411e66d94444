"""Training: batches of ratings from tensors on the device, no loader and no Python between them but the step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cofactor_trainer.dataset import RatingsDataset
from cofactor_trainer.errors import TrainerError
from cofactor_trainer.metrics import mean_squared_error
from cofactor_trainer.models import RatingModel, build_model
from cofactor_trainer.optimizer import FlatAdamW, schedule
from cofactor_trainer.predictions import predict_ratings
from cofactor_trainer.recipes import Recipe, resolve_range
from cofactor_trainer.trained import TrainedModel

# Ratings gathered at once in shuffled order: large enough to cost nothing, small enough not to double the memory.
_GATHERED_RATINGS = 1 << 20
# Below this batch a second thread gains nothing, and it collapses when the other core is busy.
_THREADED_BATCH = 4096


@dataclass(frozen=True)
class EpochResult:
    """One line of the table of epochs.

    Attributes:
        epoch: from 1.
        train_loss: mean squared error of the batches as they were trained on.
        validation_loss: mean squared error of the folded model; None without validation ratings.
        seconds: of the training, validation not included.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    seconds: float

    @property
    def rmse(self) -> float | None:
        """Root of the validation loss."""
        return None if self.validation_loss is None else math.sqrt(self.validation_loss)


class Observer(Protocol):
    """Whoever wants to know how training goes."""

    def on_progress(self, trained: int, total: int) -> None:
        """``trained`` of ``total`` ratings of all epochs have been used."""

    def on_epoch(self, result: EpochResult) -> None:
        """An epoch is over."""


@dataclass(frozen=True)
class TrainingResult:
    """The model and how it came about."""

    model: TrainedModel
    history: tuple[EpochResult, ...]


def train(
    train_ratings: RatingsDataset,
    validation: RatingsDataset | None,
    recipe: Recipe,
    *,
    seed: int = 42,
    device: str = "cpu",
    observer: Observer | None = None,
    allow_misfit_range: bool = False,
) -> TrainingResult:
    """Train a recipe; the same seed, ratings and device give the same model, bit for bit.

    Args:
        train_ratings: what to learn from.
        validation: judged after every epoch, with the rows of ``train_ratings``.
        recipe: what to train and how.
        seed: of the initial values, the order of the ratings and dropout.
        device: "cpu", "cuda" or "cuda:N".
        observer: told about progress.
        allow_misfit_range: train even if the model can never predict some of the ratings.

    Raises:
        RecipeError: the recipe does not fit the ratings.
        TrainerError: the loss is no longer a number.
    """
    rating_range = resolve_range(recipe, train_ratings, allow_misfit=allow_misfit_range)
    history: list[EpochResult] = []
    with _threads_for(recipe.batch_size), torch.random.fork_rng():
        torch.manual_seed(seed)
        run = _Run(build_model(recipe, train_ratings, rating_range).to(device), train_ratings, recipe, seed, device)
        for epoch in range(recipe.epochs):
            started = time.perf_counter()
            train_loss = run.epoch(epoch, observer)
            seconds = time.perf_counter() - started
            if not math.isfinite(train_loss):
                raise TrainerError(
                    f"the loss is {train_loss} after epoch {epoch + 1}: "
                    f"lower the learning rate, which is {recipe.learning_rate:g}"
                )
            folded = run.fold()
            loss = (
                None
                if validation is None
                else mean_squared_error(predict_ratings(folded, validation), validation.ratings)
            )
            history.append(EpochResult(epoch + 1, train_loss, loss, seconds))
            if observer is not None:
                observer.on_epoch(history[-1])
    return TrainingResult(folded, tuple(history))


class _Run:
    """A model, its optimiser and its ratings on the device."""

    def __init__(self, model: RatingModel, ratings: RatingsDataset, recipe: Recipe, seed: int, device: str) -> None:
        self.model, self._ratings, self._recipe, self._seed = model, ratings, recipe, seed
        self.optimizer = FlatAdamW(model.decay_groups())
        self._users = torch.from_numpy(ratings.user_rows).to(device, torch.int32)
        self._items = torch.from_numpy(ratings.item_rows).to(device, torch.int32)
        self._values = torch.from_numpy(ratings.ratings).to(device)

    def epoch(self, epoch: int, observer: Observer | None) -> float:
        """Use every rating once -> mean loss."""
        # Seeded by the epoch, so that training that goes on from a checkpoint draws what it would have drawn.
        torch.manual_seed((self._seed << 20) + epoch + 1)
        self.model.train()
        n_ratings = len(self._values)
        total = torch.zeros((), dtype=torch.float64, device=self._values.device)
        done = 0
        for users, items, values in self._batches():
            progress = (epoch * n_ratings + done) / (self._recipe.epochs * n_ratings)
            self.optimizer.zero_grad()
            total += self.model.accumulate_gradient(users, items, values) * len(values)
            self.optimizer.step(*schedule(self._recipe.schedule, progress, self._recipe.learning_rate))
            done += len(values)
            if observer is not None:
                observer.on_progress(epoch * n_ratings + done, self._recipe.epochs * n_ratings)
        return float(total) / n_ratings

    def fold(self) -> TrainedModel:
        """The model as it is now."""
        self.model.eval()
        with torch.no_grad():
            return self.model.fold(self._ratings)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Every rating once in random order.

        The last batch may be smaller, but not of one rating: batch normalisation needs two.
        """
        size = self._recipe.batch_size
        order = torch.randperm(len(self._values), device=self._values.device)
        gathered = max(1, _GATHERED_RATINGS // size) * size
        for part in torch.split(order, gathered):
            columns = (self._users[part], self._items[part], self._values[part])
            for users, items, values in zip(*(torch.split(column, size) for column in columns), strict=True):
                if len(values) > 1:
                    yield users, items, values


class _threads_for:  # noqa: N801 - a context manager, used like a function
    """One torch thread for small batches, all of them for large ones."""

    def __init__(self, batch_size: int) -> None:
        self._wanted = torch.get_num_threads() if batch_size >= _THREADED_BATCH else 1

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self._wanted)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
