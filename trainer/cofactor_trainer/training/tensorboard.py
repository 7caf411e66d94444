"""Experiment tracking: training as TensorBoard shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.training.epochs import EpochResult, Observer


class TensorBoardLog:
    """An observer that writes the losses of every epoch to a folder of TensorBoard.

    Raises:
        MissingExtraError: tensorboard is not installed.
        InputError: nothing can be written to the folder.
    """

    def __init__(self, folder: Path, recipe: Recipe, seed: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("--tensorboard", "tensorboard", "tracking") from None
        try:
            self._writer = SummaryWriter(str(folder))
        except OSError as error:
            raise InputError(
                f"logs cannot be written there ({error.strerror}): name another folder with --tensorboard", folder
            ) from None
        settings = {**recipe.hyperparameters(), "seed": str(seed)}
        lines = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
        self._writer.add_text("recipe", f"| setting | value |\n|---|---|\n{lines}")

    def on_progress(self, trained: int, total: int) -> None:
        """Nothing is written between epochs."""

    def on_epoch(self, result: EpochResult) -> None:
        """Write the losses and the time, and flush them, for an interrupted run is worth looking at too."""
        measures = {"loss/train": result.train_loss, "seconds": result.seconds}
        if result.validation_loss is not None:
            measures["loss/validation"] = result.validation_loss
        if result.rmse is not None:
            measures["rmse/validation"] = result.rmse
        for name, value in measures.items():
            self._writer.add_scalar(name, value, result.epoch)
        self._writer.flush()


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def on_progress(self, trained: int, total: int) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.on_progress(trained, total)

    def on_epoch(self, result: EpochResult) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.on_epoch(result)
