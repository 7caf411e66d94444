"""Train the ranking part of a recipe and add it to a model that predicts ratings."""

from __future__ import annotations

from pathlib import Path

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.ranking_part import join_ranking_part, mean_ranking, reduce_rank
from cofactor_trainer.scoring.trained_model import Order, TrainedModel
from cofactor_trainer.training.observer import Observer
from cofactor_trainer.training.train import train


def add_ranking_part(
    model: TrainedModel,
    train_ratings: RatingsDataset,
    recipe: Recipe,
    *,
    seed: int = 42,
    device: str = "cpu",
    observer: Observer | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> TrainedModel:
    """Train the ranking part of a recipe on the ratings that ``model`` was trained on, and return both as one model.

    A recipe without a ranking part leaves the model as it is.

    Args:
        model: result of `train` with the same recipe and ratings.
        train_ratings: ratings to learn from.
        recipe: recipe with the settings of the ranking part.
        seed: seed of the initial values, the order of the users and dropout.
        device: "cpu", "cuda" or "cuda:N".
        observer: receiver of progress and results, of one member after the other.
        checkpoint: file to write the state of training to after every epoch.
        resume: continue from that file, if it exists.

    Raises:
        InputError: the checkpoint is missing or damaged, or belongs to another run.
        TrainerError: the loss is no longer finite.
    """
    if not recipe.ranking:
        return model
    members = []
    for number, member in enumerate(recipe.ranking):
        path = checkpoint if checkpoint is None or not number else checkpoint.with_name(f"{checkpoint.name}.{number}")
        members.append(
            train(
                train_ratings,
                None,
                member,
                seed=seed + number,
                device=device,
                observer=observer,
                checkpoint=path,
                resume=resume and path is not None and path.exists(),
            ).model
        )
    ranking = mean_ranking(members)
    if recipe.ranking[0].n_exported_factors is not None:
        ranking = reduce_rank(ranking, recipe.ranking[0].n_exported_factors)
    # A network would have to rate the whole catalogue for every list.
    weight, new_user_weight = (0.0, 0.0) if model.layers else (recipe.rating_weight, recipe.new_user_rating_weight)
    return join_ranking_part(model, ranking, Order(weight, 1.0), Order(new_user_weight, 1.0))
