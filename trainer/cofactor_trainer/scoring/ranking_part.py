"""Join a model that predicts ratings and one that ranks items, so that one version does both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.data.profile_regression import Float64Array
from cofactor_trainer.scoring.trained_model import Order, TrainedModel


def join_ranking_part(rating: TrainedModel, ranking: TrainedModel, order: Order, new_user_order: Order) -> TrainedModel:
    """Append the factors of a ranking model to those of a rating model, as its ranking part.

    The ranking factors of the items are scaled to the size of their other factors, and those of the users the other way
    round. That changes no logit, and lets both parts count alike where items are compared.

    Args:
        rating: model that predicts ratings.
        ranking: dot product with item biases, of the same users and items.
        order: best order for the users of the training data.
        new_user_order: best order for users who were folded in.
    """
    ones = np.ones((len(ranking.user_factors), 1), np.float32)
    scale = _size(rating.item_factors) / _size(ranking.item_factors)
    return replace(
        rating,
        user_factors=np.hstack([rating.user_factors, ranking.user_factors / scale, ones]),
        item_factors=np.hstack([rating.item_factors, ranking.item_factors * scale, ranking.item_bias[:, None]]),
        n_ranking_factors=ranking.n_dot_factors + 1,
        order=order,
        new_user_order=new_user_order,
    )


def mean_ranking(models: Sequence[TrainedModel]) -> TrainedModel:
    """Return a model whose scores are the means of the scores of ranking models."""
    return replace(
        models[0],
        user_factors=np.hstack([model.user_factors / np.float32(len(models)) for model in models]),
        item_factors=np.hstack([model.item_factors for model in models]),
        item_bias=np.mean([model.item_bias for model in models], axis=0),
        n_dot_factors=sum(model.n_dot_factors for model in models),
    )


def _size(factors: Float32Array) -> np.float32:
    """Return the root mean square length of the factors of the known items; 1 if all are 0."""
    square = np.einsum("ij,ij->i", factors[:-1], factors[:-1]).mean(dtype=np.float64)
    return np.float32(np.sqrt(square) or 1.0)


def reduce_rank(model: TrainedModel, n_factors: int) -> TrainedModel:
    """Approximate the order of a ranking model with fewer factors.

    The scores of all users and items, less the means of their factors, are a matrix whose best approximation of a
    lower rank is known (C. Eckart and G. Young, 1936). It is found from two small matrices, without the scores. The
    mean of the users becomes part of the item bias. The mean of the items is dropped: it adds the same to all items of
    a user.
    """
    n_factors = min(n_factors, model.n_dot_factors)
    users, items = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
    user_mean, item_mean = users[:-1].mean(0), items[:-1].mean(0)
    bias = items @ user_mean + model.item_bias
    users -= user_mean
    items -= item_mean
    user_root, item_root = _root_of_gram(users[:-1]), _root_of_gram(items[:-1])
    left, values, right = np.linalg.svd(user_root @ item_root.T)
    scale = np.sqrt(np.maximum(values[:n_factors], values[0] * 1e-12 or 1.0))
    return replace(
        model,
        user_factors=(users @ (item_root.T @ right[:n_factors].T / scale)).astype(np.float32),
        item_factors=(items @ (user_root.T @ left[:, :n_factors] / scale)).astype(np.float32),
        item_bias=(bias - bias[:-1].mean()).astype(np.float32),
        n_dot_factors=n_factors,
    )


def _root_of_gram(rows: Float64Array) -> Float64Array:
    """Return R with Rᵀ R = rowsᵀ rows: (n, d) -> (d, d)."""
    values, axes = np.linalg.eigh(rows.T @ rows)
    root: Float64Array = np.sqrt(np.maximum(values, 0))[:, None] * axes.T
    return root


def rating_part(model: TrainedModel) -> TrainedModel:
    """Return the model without its ranking part."""
    return replace(
        model,
        user_factors=np.ascontiguousarray(model.user_factors[:, : model.n_user_columns]),
        item_factors=np.ascontiguousarray(model.item_factors[:, : model.n_item_columns]),
        n_ranking_factors=0,
    )


def similarity_columns(model: TrainedModel) -> slice:
    """Return the columns of the item factors that tell how similar items are: all but the bias of the ranking."""
    return slice(0, model.item_factors.shape[1] - (model.n_ranking_factors > 0))


def ranking_factors(model: TrainedModel) -> tuple[Float32Array, Float32Array]:
    """Return what a model ranks items by: factors (n_items + 1, r) and bias (n_items + 1,).

    They are those of its ranking part, or of a model that only ranks.
    """
    if not model.n_ranking_factors:
        return model.item_factors, model.item_bias
    return model.item_factors[:, model.n_item_columns : -1], model.item_factors[:, -1]
