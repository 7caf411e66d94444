"""Train any recipe."""

from __future__ import annotations

from pathlib import Path

from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.training.blend import train_blend
from cofactor_trainer.training.epochs import Observer, TrainingResult
from cofactor_trainer.training.loop import train_by_epochs


def train(
    train_ratings: RatingsDataset,
    validation: RatingsDataset | None,
    recipe: Recipe,
    *,
    seed: int = 42,
    device: str = "cpu",
    observer: Observer | None = None,
    allow_misfit_range: bool = False,
    patience: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> TrainingResult:
    """Train a recipe; on a CPU the same seed and ratings give the same model, bit for bit.

    Args:
        train_ratings: what to learn from.
        validation: judged after every epoch, with the rows of ``train_ratings``.
        recipe: what to train and how.
        seed: of the initial values, the order of the ratings and dropout.
        device: "cpu", "cuda" or "cuda:N".
        observer: told about progress.
        allow_misfit_range: train even if the model can never predict some of the ratings.
        patience: stop after this many epochs without a lower validation loss, and return the best epoch's model.
        checkpoint: file to write the state to after every epoch.
        resume: go on from that file, to the result that an uninterrupted run would have had.

    Raises:
        RecipeError: the recipe does not fit the ratings.
        InputError: the checkpoint is missing, damaged, of another run, or of one that kept no best epoch for the
            patience to go by.
        TrainerError: the loss is no longer a number.
    """
    if patience is not None and (patience < 1 or validation is None):
        raise RecipeError("early stopping needs ratings held out and a patience of at least 1 epoch")
    rating_range = resolve_range(recipe, train_ratings, allow_misfit=allow_misfit_range)
    if recipe.model == "blend":
        if patience is not None or checkpoint is not None:
            raise RecipeError(
                f"recipe {recipe.name} has no epochs to stop at: leave out the patience and the checkpoint"
            )
        return train_blend(train_ratings, validation, recipe, rating_range, seed=seed, device=device, observer=observer)
    return train_by_epochs(
        train_ratings,
        validation,
        recipe,
        rating_range,
        seed=seed,
        device=device,
        observer=observer,
        patience=patience,
        checkpoint=checkpoint,
        resume=resume,
    )
