"""Shrink a model of a small table towards biases alone, as far as cross-validation says.

A few thousand ratings support biases, and hardly factors or a network: these then predict worse than biases alone. The
logit becomes w * (logit of the model) + (1 - w) * (logit of biases alone), with the w from 0 to 1 that predicts best
what the trainings of a cross-validation did not see. A mean of the two is stacked generalisation (D. Wolpert, 1992)
with one weight. The result has the same arrays as the model, so it exports through the same graphs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cofactor_trainer.architectures.recipes import Range
from cofactor_trainer.data.dataset import RatingsDataset, RowArray
from cofactor_trainer.data.splits import k_folds
from cofactor_trainer.scoring.numpy_scorer import logits_to_ratings, predict_logits
from cofactor_trainer.scoring.trained_model import TrainedModel

logger = logging.getLogger(__name__)

# Larger tables support what the recipes learn; the trainings of the cross-validation would only take time.
MOST_RATINGS = 10_000
# Below this number the folds are too small to say anything.
FEWEST_RATINGS = 100
_FOLDS = 5
_WEIGHTS = np.linspace(0, 1, 21)
# As for evaluation.baselines.fit_biases: every user and item counts as if it had this many more mean ratings.
_USER_RIDGE, _ITEM_RIDGE = 5.0, 3.0
_SWEEPS = 15


def shrink_to_biases(
    model: TrainedModel, ratings: RatingsDataset, train: Callable[[RatingsDataset], TrainedModel], seed: int
) -> TrainedModel:
    """Return the model, or a mean of the model and biases alone that predicts unseen ratings better.

    Args:
        model: model trained on ``ratings``, with a sigmoid.
        ratings: the ratings of a small table.
        train: trains the same recipe on a part of the ratings.
        seed: seed of the cross-validation.
    """
    weight = _choose_weight(ratings, train, seed)
    if weight == 0:
        logger.warning(
            "%s ratings are too few to learn more than biases from: the model predicts with biases alone",
            f"{ratings.n_ratings:,}",
        )
    if weight == 1:
        return model
    assert model.rating_range is not None
    return mix(model, fit_logit_biases(ratings, model.rating_range), weight)


def _choose_weight(ratings: RatingsDataset, train: Callable[[RatingsDataset], TrainedModel], seed: int) -> float:
    """Return the weight of the model with the lowest squared error on the ratings of all folds."""
    squared = np.zeros(len(_WEIGHTS))
    for fold in k_folds(ratings, _FOLDS, seed):
        model, held_out = train(fold.train), fold.validation
        assert model.rating_range is not None
        biases = fit_logit_biases(fold.train, model.rating_range)
        logits, bias_logits = (
            predict_logits(either, held_out.user_rows, held_out.item_rows) for either in (model, biases)
        )
        for number, weight in enumerate(_WEIGHTS):
            predicted = logits_to_ratings(model, (weight * logits + (1 - weight) * bias_logits).astype(np.float32))
            squared[number] += np.sum((predicted.astype(np.float64) - held_out.ratings) ** 2)
    return float(_WEIGHTS[np.argmin(squared)])


def mix(model: TrainedModel, biases: TrainedModel, weight: float) -> TrainedModel:
    """Return the model whose logit is the weighted mean of both: weight for the model, the rest for the biases."""
    share, rest = np.float32(weight), np.float32(1 - weight)
    user_factors = model.user_factors.copy()
    user_factors[:, : model.n_dot_factors] *= share
    layers = model.layers
    if layers:
        last = layers[-1]
        layers = (*layers[:-1], replace(last, weight=last.weight * share, bias=last.bias * share))
    return replace(
        model,
        user_factors=user_factors,
        user_bias=share * model.user_bias + rest * biases.user_bias,
        item_bias=share * model.item_bias + rest * biases.item_bias,
        global_bias=float(weight * model.global_bias + (1 - weight) * biases.global_bias),
        layers=layers,
    )


def fit_logit_biases(ratings: RatingsDataset, rating_range: Range) -> TrainedModel:
    """Fit a logit that is a constant, an offset for the user and one for the item, by ridge regression.

    Each sweep takes a Gauss-Newton step through the sigmoid for the items, then one for the users.
    """
    low, high = rating_range
    mean = float(ratings.ratings.mean(dtype=np.float64))
    share = np.clip((mean - low) / (high - low), 0.01, 0.99)
    start = float(np.log(share / (1 - share)))
    slope = (high - low) * share * (1 - share)  # of the rating at the mean: makes the ridges count in ratings
    values = ratings.ratings.astype(np.float64)
    biases = {"user": np.zeros(ratings.n_users + 1), "item": np.zeros(ratings.n_items + 1)}
    rows = {"user": ratings.user_rows, "item": ratings.item_rows}
    ridges = {"user": _USER_RIDGE * slope**2, "item": _ITEM_RIDGE * slope**2}
    for _ in range(_SWEEPS):
        for kind in ("item", "user"):
            logits = start + biases["user"][rows["user"]] + biases["item"][rows["item"]]
            fitted = low + (high - low) * (0.5 + 0.5 * np.tanh(logits / 2))
            slopes = (fitted - low) * (high - fitted) / (high - low)
            biases[kind] += _step(rows[kind], slopes, values - fitted, biases[kind], ridges[kind])
    return TrainedModel(
        architecture="dot-product",
        objective="rating",
        user_factors=np.zeros((ratings.n_users + 1, 1), np.float32),
        user_bias=biases["user"].astype(np.float32),
        item_factors=np.zeros((ratings.n_items + 1, 1), np.float32),
        item_bias=biases["item"].astype(np.float32),
        global_bias=start,
        rating_range=rating_range,
        n_dot_factors=1,
    )


def _step(rows: RowArray, slopes: np.ndarray, errors: np.ndarray, biases: np.ndarray, ridge: float) -> np.ndarray:
    """Return the changes of the biases (n,) that minimise the linearised squared errors and the ridge."""
    gradient = np.bincount(rows, slopes * errors, len(biases)) - ridge * biases
    change: np.ndarray = gradient / (np.bincount(rows, slopes**2, len(biases)) + ridge)
    return change
