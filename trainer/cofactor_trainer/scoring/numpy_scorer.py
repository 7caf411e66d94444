"""Score with a trained model in numpy: the reference for every graph."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, RowArray
from cofactor_trainer.scoring.trained_model import Order, TrainedModel

_PAIRS_PER_BLOCK = 1 << 16


def predict_logits(model: TrainedModel, user_rows: RowArray, item_rows: RowArray) -> Float32Array:
    """Return the logits of pairs: user_rows (n,), item_rows (n,) -> (n,)."""
    blocks = [
        _block_logits(model, user_rows[start : start + _PAIRS_PER_BLOCK], item_rows[start : start + _PAIRS_PER_BLOCK])
        for start in range(0, len(user_rows), _PAIRS_PER_BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def predict_all_logits(model: TrainedModel, user_rows: Int64Array) -> Float32Array:
    """Return the logits of users for every known item: user_rows (n,) -> (n, n_items)."""
    n_dot = model.n_dot_factors
    users = model.user_factors[user_rows, : model.n_user_columns]
    items = model.item_factors[:-1, : model.n_item_columns]
    logits = model.user_bias[user_rows, None] + model.item_bias[None, :-1] + np.float32(model.global_bias)
    if n_dot:
        logits += users[:, :n_dot] @ items[:, :n_dot].T
    if model.layers:
        # The first layer is linear, so its user half and its item half are computed once each and then added.
        first = model.layers[0]
        n_user = users.shape[1] - n_dot
        user_halves = users[:, n_dot:] @ first.weight[:, :n_user].T + first.bias
        item_halves = items[:, n_dot:] @ first.weight[:, n_user:].T
        for user_logits, user_half in zip(logits, user_halves, strict=True):
            user_logits += _layers_after_first(model, user_half + item_halves)
    return logits.astype(np.float32, copy=False)


def score_all(model: TrainedModel, user_rows: Int64Array, order: Order) -> Float32Array:
    """Return the scores of users for every known item in an order, without popularity: (n,) -> (n, n_items)."""
    if not model.n_ranking_factors:
        return predict_all_logits(model, user_rows)
    users: Float32Array = model.user_factors[user_rows, model.n_user_columns :] * np.float32(order.ranking_weight)
    scores = users @ model.item_factors[:-1, model.n_item_columns :].T
    if order.rating_weight:
        scores += np.float32(order.rating_weight) * predict_all_logits(model, user_rows)
    return scores


def predict_ratings(model: TrainedModel, pairs: RatingsDataset) -> Float32Array:
    """Return the predicted rating of every pair of a dataset, (n_ratings,)."""
    return logits_to_ratings(model, predict_logits(model, pairs.user_rows, pairs.item_rows))


def logits_to_ratings(model: TrainedModel, logits: Float32Array) -> Float32Array:
    """Convert logits of any shape to ratings on the scale of the model."""
    if model.rating_range is None:
        return logits
    low, high = model.rating_range
    # tanh instead of 1 / (1 + exp(-x)): the same function, without overflow.
    ratings: Float32Array = (low + (high - low) * (0.5 + 0.5 * np.tanh(logits * 0.5))).astype(np.float32)
    return ratings


def _block_logits(model: TrainedModel, user_rows: RowArray, item_rows: RowArray) -> Float32Array:
    n_dot = model.n_dot_factors
    users = model.user_factors[user_rows, : model.n_user_columns]
    items = model.item_factors[item_rows, : model.n_item_columns]
    logits = model.user_bias[user_rows] + model.item_bias[item_rows] + np.float32(model.global_bias)
    if n_dot:
        logits = logits + np.einsum("nf,nf->n", users[:, :n_dot], items[:, :n_dot])
    if model.layers:
        inputs = np.concatenate([users[:, n_dot:], items[:, n_dot:]], axis=1)
        first = model.layers[0]
        logits = logits + _layers_after_first(model, inputs @ first.weight.T + first.bias)
    return logits.astype(np.float32)


def _layers_after_first(model: TrainedModel, hidden: Float32Array) -> Float32Array:
    """Apply every layer but the first: output of the first layer (n, width) -> output of the network (n,)."""
    for layer in model.layers[1:]:
        hidden = np.maximum(hidden, 0) @ layer.weight.T + layer.bias
    return hidden[:, 0]
