"""What a trained model predicts, in numpy: the reference for every graph."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, RowArray
from cofactor_trainer.scoring.trained_model import TrainedModel

_PAIRS_AT_ONCE = 1 << 16


def predict_logits(model: TrainedModel, user_rows: RowArray, item_rows: RowArray) -> Float32Array:
    """user_rows (n,), item_rows (n,) -> logits (n,)."""
    parts = [
        _logits(model, user_rows[start : start + _PAIRS_AT_ONCE], item_rows[start : start + _PAIRS_AT_ONCE])
        for start in range(0, len(user_rows), _PAIRS_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def predict_all_logits(model: TrainedModel, user_rows: Int64Array) -> Float32Array:
    """Logits of some users for every known item; user_rows (n,) -> (n, n_items)."""
    n_dot = model.n_dot_factors
    users, items = model.user_factors[user_rows], model.item_factors[:-1]
    logits = model.user_bias[user_rows, None] + model.item_bias[None, :-1] + np.float32(model.global_bias)
    if n_dot:
        logits += users[:, :n_dot] @ items[:, :n_dot].T
    if model.layers:
        # The first layer is linear: a part of the user and a part of the item, each computed once.
        first = model.layers[0]
        n_user = users.shape[1] - n_dot
        of_users = users[:, n_dot:] @ first.weight[:, :n_user].T + first.bias
        of_items = items[:, n_dot:] @ first.weight[:, n_user:].T
        for line, of_user in zip(logits, of_users, strict=True):
            line += _rest_of_network(model, of_user + of_items)
    return logits.astype(np.float32, copy=False)


def predict_ratings(model: TrainedModel, pairs: RatingsDataset) -> Float32Array:
    """The rating predicted for each pair of ``pairs``, (n_ratings,)."""
    return ratings_of_logits(model, predict_logits(model, pairs.user_rows, pairs.item_rows))


def ratings_of_logits(model: TrainedModel, logits: Float32Array) -> Float32Array:
    """Logits to ratings, any shape."""
    if model.rating_range is None:
        return logits
    low, high = model.rating_range
    # tanh instead of 1 / (1 + exp(-x)): the same function, without overflow.
    ratings: Float32Array = (low + (high - low) * (0.5 + 0.5 * np.tanh(logits * 0.5))).astype(np.float32)
    return ratings


def _logits(model: TrainedModel, user_rows: RowArray, item_rows: RowArray) -> Float32Array:
    n_dot = model.n_dot_factors
    users, items = model.user_factors[user_rows], model.item_factors[item_rows]
    logits = model.user_bias[user_rows] + model.item_bias[item_rows] + np.float32(model.global_bias)
    if n_dot:
        logits = logits + np.einsum("nf,nf->n", users[:, :n_dot], items[:, :n_dot])
    if model.layers:
        hidden = np.concatenate([users[:, n_dot:], items[:, n_dot:]], axis=1)
        first = model.layers[0]
        logits = logits + _rest_of_network(model, hidden @ first.weight.T + first.bias)
    return logits.astype(np.float32)


def _rest_of_network(model: TrainedModel, hidden: Float32Array) -> Float32Array:
    """Output of the first layer (n, width) -> output of the network (n,)."""
    for layer in model.layers[1:]:
        hidden = np.maximum(hidden, 0) @ layer.weight.T + layer.bias
    return hidden[:, 0]
