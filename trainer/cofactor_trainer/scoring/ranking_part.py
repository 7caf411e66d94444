"""Join a model that predicts ratings and one that ranks items, so that one version does both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.scoring.trained_model import Order, TrainedModel


def join_ranking_part(rating: TrainedModel, ranking: TrainedModel, order: Order, new_user_order: Order) -> TrainedModel:
    """Append the factors of a ranking model to those of a rating model, as its ranking part.

    Args:
        rating: model that predicts ratings.
        ranking: dot product with item biases, of the same users and items.
        order: best order for the users of the training data.
        new_user_order: best order for users who were folded in.
    """
    ones = np.ones((len(ranking.user_factors), 1), np.float32)
    return replace(
        rating,
        user_factors=np.hstack([rating.user_factors, ranking.user_factors, ones]),
        item_factors=np.hstack([rating.item_factors, ranking.item_factors, ranking.item_bias[:, None]]),
        n_ranking_factors=ranking.n_dot_factors + 1,
        order=order,
        new_user_order=new_user_order,
    )


def rating_part(model: TrainedModel) -> TrainedModel:
    """Return the model without its ranking part."""
    return replace(
        model,
        user_factors=np.ascontiguousarray(model.user_factors[:, : model.n_user_columns]),
        item_factors=np.ascontiguousarray(model.item_factors[:, : model.n_item_columns]),
        n_ranking_factors=0,
    )


def similarity_columns(model: TrainedModel) -> slice:
    """Return the columns of the item factors that tell how similar items are: those of the ranking part, if any."""
    if not model.n_ranking_factors:
        return slice(0, model.item_factors.shape[1])
    return slice(model.n_item_columns, model.item_factors.shape[1] - 1)


def ranking_factors(model: TrainedModel) -> tuple[Float32Array, Float32Array]:
    """Return what a model ranks items by: factors (n_items + 1, r) and bias (n_items + 1,).

    They are those of its ranking part, or of a model that only ranks.
    """
    if not model.n_ranking_factors:
        return model.item_factors, model.item_bias
    return model.item_factors[:, model.n_item_columns : -1], model.item_factors[:, -1]
