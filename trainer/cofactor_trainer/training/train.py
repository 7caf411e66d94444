"""Train any recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cofactor_trainer.architectures.recipes import Recipe, resolve_range
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.blend import train_blend
from cofactor_trainer.training.epochs import TrainingResult
from cofactor_trainer.training.loop import train_by_gradient_descent
from cofactor_trainer.training.observer import Observer
from cofactor_trainer.training.shrinkage import FEWEST_RATINGS, MOST_RATINGS, shrink_to_biases
from cofactor_trainer.training.task import TrainingTask


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
    n_epochs: int | None = None,
) -> TrainingResult:
    """Train a recipe. On a CPU the same seed and ratings give the same model, bit for bit.

    Args:
        train_ratings: ratings to learn from.
        validation: held-out ratings, with the rows of ``train_ratings``; evaluated after every epoch.
        recipe: model and hyper-parameters.
        seed: seed of the initial values, the order of the ratings and dropout.
        device: "cpu", "cuda" or "cuda:N".
        observer: receiver of progress and results.
        allow_misfit_range: train even if some ratings lie outside the range that the model can predict.
        patience: stop after this many epochs without a lower validation loss, and return the model of the best epoch.
        checkpoint: file to write the state of training to after every epoch.
        resume: continue from that file, to the result that an uninterrupted run would have had.
        n_epochs: stop after this many epochs of the recipe's schedule; None for all of them. A blend has no epochs to
            stop at, and ignores it.

    Raises:
        RecipeError: the recipe does not fit the ratings.
        InputError: the checkpoint is missing or damaged, belongs to another run, or lacks the best epoch that
            ``patience`` needs.
        TrainerError: the loss is no longer finite.
    """
    if patience is not None and (patience < 1 or validation is None):
        raise RecipeError("early stopping needs held-out ratings and a patience of at least 1 epoch")
    rating_range = resolve_range(recipe, train_ratings, allow_misfit=allow_misfit_range)
    is_small = FEWEST_RATINGS <= train_ratings.n_ratings < MOST_RATINGS
    is_shrunk = is_small and recipe.adapts_weight_decay and rating_range is not None
    recipe = recipe.adapted_to(train_ratings.n_ratings)
    task = TrainingTask(train_ratings, validation, recipe, rating_range, seed, device)
    if recipe.model == "blend":
        if patience is not None or checkpoint is not None:
            raise RecipeError(
                f"recipe {recipe.name} has no epochs to stop at: leave out the patience and the checkpoint"
            )
        return train_blend(task, observer)
    result = train_by_gradient_descent(
        task, observer, patience=patience, checkpoint=checkpoint, resume=resume, n_epochs=n_epochs
    )
    return _shrunk(result, task) if is_shrunk else result


def _shrunk(result: TrainingResult, task: TrainingTask) -> TrainingResult:
    """Shrink the model of a small table towards biases alone."""

    def train_part(ratings: RatingsDataset) -> TrainedModel:
        part = replace(task, ratings=ratings, validation=None)
        return train_by_gradient_descent(part, n_epochs=result.best_epoch).model

    return replace(result, model=shrink_to_biases(result.model, task.ratings, train_part, task.seed))
