"""Training: batches of ratings from tensors on the device, no loader and no Python between them but the step."""

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
from cofactor_trainer.architectures.optimizer import FlatAdamW, schedule
from cofactor_trainer.architectures.recipes import Range, Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import InputError, TrainerError
from cofactor_trainer.evaluation.validation_loss import validation_loss
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.checkpoints import Checkpoint, read_checkpoint, run_fingerprint, write_checkpoint
from cofactor_trainer.training.epochs import EpochResult, Observer, TrainingResult
from cofactor_trainer.training.threads import threads_for


def train_by_epochs(
    train_ratings: RatingsDataset,
    validation: RatingsDataset | None,
    recipe: Recipe,
    rating_range: Range | None,
    *,
    seed: int,
    device: str,
    observer: Observer | None = None,
    patience: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> TrainingResult:
    """Train a single model by gradient descent; arguments and errors are those of `train`."""
    check_batches(recipe, train_ratings.n_ratings)
    with threads_for(recipe.batch_size_for(train_ratings.n_ratings)), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(recipe, train_ratings, rating_range).to(device)
        run = _Run(model, train_ratings, validation, recipe, seed, device)
        keep_best = patience is not None
        if checkpoint is not None and resume:
            run.restore(checkpoint, keep_best=keep_best)
        while not run.is_over(patience):
            run.next_epoch(observer, keep_best=keep_best)
            if checkpoint is not None:
                run.save(checkpoint)
            if observer is not None:
                observer.on_epoch(run.history[-1])
        return TrainingResult(run.final_model(), tuple(run.history))


class _Run:
    """A model, its optimiser, its ratings on the device, and what has been trained so far."""

    def __init__(
        self,
        model: RatingModel,
        ratings: RatingsDataset,
        validation: RatingsDataset | None,
        recipe: Recipe,
        seed: int,
        device: str,
    ) -> None:
        self.history: list[EpochResult] = []
        self._model, self._ratings, self._validation = model, ratings, validation
        self._recipe, self._seed, self._device = recipe, seed, device
        self._optimizer = FlatAdamW(model.decay_groups())
        self._best: dict[str, Tensor] | None = None
        self._folded: TrainedModel | None = None
        self._users, self._items, self._values = rating_tensors(ratings, device)

    def is_over(self, patience: int | None) -> bool:
        """Whether every epoch is trained, or the last ``patience`` of them have not helped."""
        done = len(self.history)
        return done >= self._recipe.epochs or (patience is not None and done - self._best_epoch() >= patience)

    def next_epoch(self, observer: Observer | None, *, keep_best: bool) -> None:
        """Use every rating once, judge the model, note both."""
        started = time.perf_counter()
        epoch = len(self.history) + 1
        train_loss = self._train_epoch(epoch, observer)
        seconds = time.perf_counter() - started
        if not math.isfinite(train_loss):
            raise TrainerError(
                f"the loss is {train_loss} after epoch {epoch}: lower the learning rate, which is "
                f"{self._recipe.learning_rate:g}"
            )
        self._folded, loss = None, None
        if self._validation is not None:
            self._folded = self._fold()
            loss = validation_loss(self._folded, self._validation)
        self.history.append(EpochResult(epoch, train_loss, loss, seconds, self._recipe.objective))
        if keep_best and self._best_epoch() == epoch:
            self._best = {name: value.clone() for name, value in self._values_by_name().items()}

    def final_model(self) -> TrainedModel:
        """The model of the best epoch where that was kept, else that of the last one."""
        if self._best is not None and self._best_epoch() != len(self.history):
            self._load(self._best)
            return self._fold()
        return self._folded or self._fold()

    @cached_property
    def _fingerprint(self) -> str:
        return run_fingerprint(self._recipe, self._seed, self._ratings)

    def save(self, path: Path) -> None:
        """Write all of it but the ratings."""
        history = [asdict(result) for result in self.history]
        state = Checkpoint(self._fingerprint, self._values_by_name(), self._optimizer.state_dict(), history, self._best)
        write_checkpoint(state, path)

    def restore(self, path: Path, *, keep_best: bool) -> None:
        """Go on from what was saved."""
        saved = read_checkpoint(path, self._fingerprint, self._device)
        if keep_best and saved.best is None:
            raise InputError(
                "the run was begun without --patience, so its best epoch may be lost: leave out --patience, or train "
                "anew without --resume",
                path,
            )
        self._load(saved.model)
        self._optimizer.load_state_dict(saved.optimizer)
        self.history = [EpochResult(**result) for result in saved.history]
        # Without patience the last epoch counts, as in a run that never had any.
        self._best = saved.best if keep_best else None

    def _train_epoch(self, epoch: int, observer: Observer | None) -> float:
        """Use every rating once -> mean loss."""
        # Seeded by the epoch, so that a run that goes on from a checkpoint draws what it would have drawn.
        torch.manual_seed((self._seed << 20) + epoch)
        self._model.train()
        n_ratings, recipe = len(self._values), self._recipe
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
        """The epoch with the lowest validation loss, the first of equals; 0 before there is one."""
        losses = [math.inf if result.validation_loss is None else result.validation_loss for result in self.history]
        return losses.index(min(losses)) + 1 if losses else 0

    def _fold(self) -> TrainedModel:
        self._model.eval()
        with torch.no_grad():
            return self._model.collapse(self._ratings)

    def _values_by_name(self) -> dict[str, Tensor]:
        """Parameters and running statistics; sparse tensors are what the ratings say and never change."""
        return {name: value for name, value in self._model.state_dict().items() if value.layout == torch.strided}

    def _load(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._values_by_name().items():
                value.copy_(values[name])
