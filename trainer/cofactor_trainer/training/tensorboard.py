"""Log a training run for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.training.epochs import EpochResult


class TensorBoardObserver:
    """Observer that writes the losses of every epoch to a TensorBoard folder.

    Raises:
        MissingExtraError: tensorboard is not installed.
        InputError: the folder cannot be written.
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
        """Do nothing: only epochs are logged."""

    def on_epoch(self, result: EpochResult) -> None:
        """Write the losses and the duration, and flush them so that an interrupted run can be inspected."""
        scalars = {"loss/train": result.train_loss, "seconds": result.seconds}
        if result.validation_loss is not None:
            scalars["loss/validation"] = result.validation_loss
        if result.rmse is not None:
            scalars["rmse/validation"] = result.rmse
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, result.epoch)
        self._writer.flush()
