"""Train the part of a version that predicts ratings on a table of ratings and events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.events.used_rows import UsedRows
from cofactor_trainer.data.splits import Split
from cofactor_trainer.scoring.trained_model import select_rows
from cofactor_trainer.training.epochs import TrainingResult
from cofactor_trainer.training.train import train


def rated_part(dataset: RatingsDataset) -> RatingsDataset:
    """Return the ratings of weighed events, with the users and items that have some; other data stays as it is."""
    return dataset if dataset.rated is None else UsedRows.of(dataset.rated).select(dataset.rated)


def rated_split(split: Split) -> Split:
    """Return the ratings of both parts of a split of a table of ratings and events; other splits stay as they are."""
    if split.train.rated is None or split.validation.rated is None:
        return split
    used = UsedRows.of(split.train.rated)
    return Split(used.select(split.train.rated), used.select(split.validation.rated))


def train_on_ratings(
    train_part: RatingsDataset, validation: RatingsDataset | None, recipe: Recipe, **options: Any
) -> TrainingResult:
    """Train a recipe on the ratings of a data set; without ratings beside its events, on all of its rows.

    The model is the one that the rated rows alone give. Users and items without ratings have the rows of the unknown
    user and item in it.

    Args:
        train_part: weighed events with ratings, or any other data set that `train` takes.
        validation: held-out rows of the same kind, or None.
        recipe: model and hyper-parameters.
        options: those of `train`, which documents the errors, too.
    """
    if train_part.rated is None:
        return train(train_part, validation, recipe, **options)
    used = UsedRows.of(train_part.rated)
    held_out = None if validation is None else validation.rated
    result = train(
        used.select(train_part.rated), None if held_out is None else used.select(held_out), recipe, **options
    )
    return replace(result, model=select_rows(result.model, used.new_user_rows, used.new_item_rows))
