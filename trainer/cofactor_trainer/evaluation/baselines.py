"""What a recommender has to beat, as models like any other."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.trained_model import Objective, TrainedModel

# Ratings of the mean that every user and item is credited with: of 1 to 10 the best on MovieLens, split 7.
_USER_RIDGE, _ITEM_RIDGE = 5.0, 3.0
_SWEEPS = 15


def popularity(train: RatingsDataset) -> TrainedModel:
    """Everyone gets what most have rated."""
    counts = np.append(train.item_rating_counts(), 0)
    return _biases_only("ranking", np.zeros(train.n_users + 1), np.log1p(counts), 0.0)


def bias_only(train: RatingsDataset) -> TrainedModel:
    """Mean rating plus an offset for the user and one for the item, by ridge regression.

    Fitted by alternating exact solutions: Y. Koren, Factor in the neighbors, 2010, section 2.1.
    """
    mean = float(train.ratings.mean(dtype=np.float64))
    user_bias, item_bias = np.zeros(train.n_users + 1), np.zeros(train.n_items + 1)
    users, items, offsets = train.user_rows, train.item_rows, train.ratings.astype(np.float64) - mean
    user_weights = np.bincount(users, minlength=len(user_bias)) + _USER_RIDGE
    item_weights = np.bincount(items, minlength=len(item_bias)) + _ITEM_RIDGE
    for _ in range(_SWEEPS):
        item_bias = np.bincount(items, offsets - user_bias[users], len(item_bias)) / item_weights
        user_bias = np.bincount(users, offsets - item_bias[items], len(user_bias)) / user_weights
    return _biases_only("rating", user_bias, item_bias, mean)


def _biases_only(objective: Objective, user_bias: np.ndarray, item_bias: np.ndarray, mean: float) -> TrainedModel:
    return TrainedModel(
        architecture="dot-product",
        objective=objective,
        user_factors=np.zeros((len(user_bias), 1), np.float32),
        user_bias=user_bias.astype(np.float32),
        item_factors=np.zeros((len(item_bias), 1), np.float32),
        item_bias=item_bias.astype(np.float32),
        global_bias=mean,
        rating_range=None,
        n_dot_factors=1,
    )
