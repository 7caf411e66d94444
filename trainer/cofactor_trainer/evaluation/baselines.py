"""Fit the baselines that a recommender has to beat."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset, row_counts
from cofactor_trainer.scoring.trained_model import Objective, TrainedModel

# Every user and item counts as if it had this many more ratings, all equal to the mean. Of 1 to 10, these are the best
# on MovieLens, split 7.
_USER_RIDGE, _ITEM_RIDGE = 5.0, 3.0
_SWEEPS = 15


def fit_popularity(train: RatingsDataset) -> TrainedModel:
    """Fit a model that scores every item by its number of ratings, the same for all users.

    It is a strong baseline for rankings: P. Cremonesi, Y. Koren and R. Turrin, Performance of recommender algorithms on
    top-N recommendation tasks, 2010.
    """
    counts = np.append(train.item_rating_counts(), 0)
    return _biases_only("ranking", np.zeros(train.n_users + 1), np.log1p(counts), 0.0)


def fit_recent_popularity(train: RatingsDataset, share: float = 0.1) -> TrainedModel:
    """Fit a model that scores every item by its number of ratings among the latest ones, the same for all users.

    Items of the same number are in the order of all their ratings. A share of all ratings counts as the latest ones.

    Raises:
        ValueError: the ratings have no times.
    """
    if train.timestamps is None:
        raise ValueError("recent popularity needs times")
    oldest = np.quantile(train.timestamps, 1 - share)
    recent = row_counts(train.item_rows[train.timestamps >= oldest], train.n_items + 1)[: train.n_items]
    scores = np.append(recent + np.log1p(train.item_rating_counts()) / 100, 0)
    return _biases_only("ranking", np.zeros(train.n_users + 1), scores, 0.0)


def fit_item_means(train: RatingsDataset) -> TrainedModel:
    """Fit the mean rating of every item, the same for all users; an item with few ratings is drawn to the mean."""
    mean = float(train.ratings.mean(dtype=np.float64))
    sums = np.bincount(train.item_rows, train.ratings.astype(np.float64) - mean, train.n_items + 1)
    item_bias = sums / (np.bincount(train.item_rows, minlength=train.n_items + 1) + _ITEM_RIDGE)
    return _biases_only("rating", np.zeros(train.n_users + 1), item_bias, mean)


def fit_biases(train: RatingsDataset) -> TrainedModel:
    """Fit the mean rating plus an offset for the user and one for the item, by ridge regression.

    The fit alternates between exact solutions for the items and for the users. Source: the baseline estimates of Y.
    Koren, Factor in the neighbors, 2010, section 2.1.
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
