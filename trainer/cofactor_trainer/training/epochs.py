"""Describe how a training went, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from cofactor_trainer.scoring.trained_model import Objective, TrainedModel


@dataclass(frozen=True)
class EpochResult:
    """One line of the table of epochs.

    Attributes:
        epoch: from 1.
        train_loss: mean squared error (cross-entropy for a ranking model) of the batches as they were trained on.
        validation_loss: the same of the folded model; None without validation ratings.
        seconds: of the training, validation not included.
        objective: of the model.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    seconds: float
    objective: Objective = "rating"

    @property
    def rmse(self) -> float | None:
        """Root of the validation loss where that is a mean squared error."""
        if self.validation_loss is None or self.objective == "ranking":
            return None
        return math.sqrt(self.validation_loss)


class Observer(Protocol):
    """Whoever wants to know how training goes."""

    def on_progress(self, trained: int, total: int) -> None:
        """``trained`` of ``total`` ratings of all epochs have been used."""

    def on_epoch(self, result: EpochResult) -> None:
        """An epoch is over; its checkpoint is written."""


@dataclass(frozen=True)
class TrainingResult:
    """The model and how it came about."""

    model: TrainedModel
    history: tuple[EpochResult, ...]
