"""Train a model by gradient descent.

The ratings are tensors on the device. Batches are slices of them, so no data loader and no worker process is needed.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from cofactor_trainer.architectures.base import RatingModel
from cofactor_trainer.architectures.batches import check_batches, rating_tensors
from cofactor_trainer.architectures.factory import build_model
from cofactor_trainer.architectures.optimizer import schedule
from cofactor_trainer.errors import InputError, TrainerError
from cofactor_trainer.evaluation.validation_loss import validation_loss
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.checkpoints import Checkpoint, read_checkpoint, run_fingerprint, write_checkpoint
from cofactor_trainer.training.epochs import EpochResult, TrainingResult
from cofactor_trainer.training.observer import Observer
from cofactor_trainer.training.task import TrainingTask
from cofactor_trainer.training.threads import limit_threads


def train_by_gradient_descent(
    task: TrainingTask,
    observer: Observer | None = None,
    *,
    patience: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    n_epochs: int | None = None,
) -> TrainingResult:
    """Train a single model; `train` documents the arguments and errors."""
    n_ratings = task.ratings.n_ratings
    check_batches(task.recipe, n_ratings)
    with limit_threads(task.recipe.batch_size_for(n_ratings)), torch.random.fork_rng():
        torch.manual_seed(task.seed)
        model = build_model(task.recipe, task.ratings, task.rating_range).to(task.device)
        run = _Run(model, task, keep_best=patience is not None, n_epochs=n_epochs or task.recipe.epochs)
        if checkpoint is not None and resume:
            run.restore(checkpoint)
        while not run.is_over(patience):
            run.train_epoch(observer)
            if checkpoint is not None:
                run.save(checkpoint)
            if observer is not None:
                observer.on_epoch(run.history[-1])
        return TrainingResult(run.final_model(), tuple(run.history), run.final_epoch)


class _Run:
    """Model, optimiser and results of a training run.

    Attributes:
        history: results of the epochs so far.
    """

    def __init__(self, model: RatingModel, task: TrainingTask, *, keep_best: bool, n_epochs: int) -> None:
        self.history: list[EpochResult] = []
        self._model, self._task, self._keep_best, self._n_epochs = model, task, keep_best, n_epochs
        self._ratings = task.ratings
        self._users, self._items, self._values = rating_tensors(task.ratings, task.device)
        self._optimizer = model.optimizer()
        self._best: dict[str, Tensor] | None = None
        self._collapsed: TrainedModel | None = None

    def is_over(self, patience: int | None) -> bool:
        """Return True after the last epoch, or after ``patience`` epochs without a lower validation loss."""
        done = len(self.history)
        return done >= self._n_epochs or (patience is not None and done - self._best_epoch() >= patience)

    def train_epoch(self, observer: Observer | None) -> None:
        """Train on every rating once, then compute the validation loss."""
        started = time.perf_counter()
        epoch = len(self.history) + 1
        train_loss = self._train_on_every_rating(epoch, observer)
        seconds = time.perf_counter() - started
        if not math.isfinite(train_loss):
            raise TrainerError(
                f"the loss is {train_loss} after epoch {epoch}: lower the learning rate, which is "
                f"{self._task.recipe.learning_rate:g}"
            )
        self._collapsed, loss = None, None
        if self._task.validation is not None:
            self._collapsed = self._collapse()
            loss = validation_loss(self._collapsed, self._task.validation)
        self.history.append(EpochResult(epoch, train_loss, loss, seconds, self._task.recipe.objective))
        if self._keep_best and self._best_epoch() == epoch:
            self._best = {name: value.clone() for name, value in self._state().items()}

    @property
    def final_epoch(self) -> int:
        """Number of the best epoch if the run keeps it, otherwise of the last epoch."""
        return len(self.history) if self._best is None else self._best_epoch()

    def final_model(self) -> TrainedModel:
        """Return the model of the final epoch."""
        if self._best is not None and self.final_epoch != len(self.history):
            self._load(self._best)
            return self._collapse()
        return self._collapsed or self._collapse()

    @cached_property
    def _fingerprint(self) -> str:
        return run_fingerprint(self._task.recipe, self._task.seed, self._ratings)

    def save(self, path: Path) -> None:
        """Write everything but the ratings to a checkpoint."""
        history = [asdict(result) for result in self.history]
        checkpoint = Checkpoint(self._fingerprint, self._state(), self._optimizer.state_dict(), history, self._best)
        write_checkpoint(checkpoint, path)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: the checkpoint cannot be used, has too many epochs, or lacks the best epoch that the run needs.
        """
        saved = read_checkpoint(path, self._fingerprint, self._task.device)
        if len(saved.history) > self._n_epochs:
            raise InputError(
                f"the checkpoint is of a longer run ({len(saved.history)} epochs, not {self._n_epochs}): repeat the "
                "flags it was written with, or start over without --resume",
                path,
            )
        if self._keep_best and saved.best is None:
            raise InputError(
                "the run was started without --patience, so its best epoch may be lost: leave out --patience, or "
                "start over without --resume",
                path,
            )
        self._load(saved.model)
        self._optimizer.load_state_dict(saved.optimizer)
        self.history = [EpochResult(**result) for result in saved.history]
        # Without patience the last epoch counts, as in a run that never had any.
        self._best = saved.best if self._keep_best else None

    def _train_on_every_rating(self, epoch: int, observer: Observer | None) -> float:
        """Train on every rating once and return the mean loss."""
        # Seeded by the epoch, so that a resumed run draws the same random numbers as an uninterrupted one.
        torch.manual_seed((self._task.seed << 20) + epoch)
        self._model.train()
        n_ratings, recipe = len(self._values), self._task.recipe
        total = torch.zeros((), dtype=torch.float64, device=self._values.device)
        before, all_epochs = (epoch - 1) * n_ratings, recipe.epochs * n_ratings
        done = 0
        batches = self._model.batches(self._users, self._items, self._values, recipe.batch_size_for(n_ratings))
        for users, items, values in batches:
            self._optimizer.zero_grad()
            total += self._model.accumulate_gradient(users, items, values) * len(values)
            self._optimizer.step(*schedule(recipe.schedule, (before + done) / all_epochs, recipe.learning_rate))
            done += len(values)
            if observer is not None:
                observer.on_progress(before + done, all_epochs)
        return float(total) / done

    def _best_epoch(self) -> int:
        """Return the first epoch with the lowest validation loss, or 0 before the first epoch."""
        losses = [math.inf if result.validation_loss is None else result.validation_loss for result in self.history]
        return losses.index(min(losses)) + 1 if losses else 0

    def _collapse(self) -> TrainedModel:
        self._model.eval()
        with torch.no_grad():
            return self._model.collapse(self._ratings)

    def _state(self) -> dict[str, Tensor]:
        """Return parameters and running statistics. Sparse tensors derive from the ratings and never change."""
        return {name: value for name, value in self._model.state_dict().items() if value.layout == torch.strided}

    def _load(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._state().items():
                value.copy_(state[name])
