"""Record the losses of a training run, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cofactor_trainer.scoring.trained_model import Objective, TrainedModel


@dataclass(frozen=True)
class EpochResult:
    """Losses and duration of one epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        train_loss: mean loss of the batches, each before its step: squared error, or cross-entropy for a ranking model.
        validation_loss: loss of the collapsed model on the held-out ratings; None without held-out ratings.
        seconds: duration of training, without validation.
        objective: objective of the model.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    seconds: float
    objective: Objective = "rating"

    @property
    def rmse(self) -> float | None:
        """Root of the validation loss; None for a ranking model or without held-out ratings."""
        if self.validation_loss is None or self.objective == "ranking":
            return None
        return math.sqrt(self.validation_loss)


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and the results of its epochs.

    Attributes:
        model: the trained model.
        history: results of all epochs.
        best_epoch: number of the epoch that the model is from, the best one if the training stopped early.
    """

    model: TrainedModel
    history: tuple[EpochResult, ...]
    best_epoch: int
