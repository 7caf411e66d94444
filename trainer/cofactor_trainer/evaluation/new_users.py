"""Measure the error for new users: fold users in from a few of their ratings, and predict their held-out ratings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, RowArray

_N_RATINGS = (0, 1, 2, 5, 10, 20, 50)
_MOST_USERS = 200
_FEWEST_HELD_OUT = 5

# item_rows (n, m) padded with n_items, ratings (n, m) -> user factors (n, d), biases (n,).
Embed = Callable[[Int64Array, Float32Array], tuple[Float32Array, Float32Array]]
# user factors (n, d), biases (n,), item_rows (n,) -> ratings (n,).
Predict = Callable[[Float32Array, Float32Array, Int64Array], Float32Array]


@dataclass(frozen=True)
class NewUserErrors:
    """Error for new users by the number of ratings that they gave.

    Attributes:
        n_ratings: numbers of ratings folded in.
        rmse: root mean squared error on the held-out ratings, for every number.
        n_users: number of users.
    """

    n_ratings: list[int]
    rmse: list[float]
    n_users: int


@dataclass(frozen=True)
class RatingsByUser:
    """Ratings in the order of their users.

    Attributes:
        offsets: (n_users + 1,); the ratings of user u are at offsets[u] to offsets[u + 1] - 1.
        item_rows: (n,).
        ratings: (n,).
    """

    offsets: Int64Array
    item_rows: Int64Array
    ratings: Float32Array


def ratings_by_user(
    user_rows: RowArray | Int64Array, item_rows: RowArray | Int64Array, ratings: Float32Array, n_users: int
) -> RatingsByUser:
    """Sort ratings (n,) of known users by user; those of one user keep their order."""
    order = np.argsort(user_rows, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user_rows, minlength=n_users))])
    return RatingsByUser(offsets, item_rows[order].astype(np.int64), ratings[order])


def new_user_errors(
    embed: Embed, predict: Predict, training: RatingsByUser, held_out: RatingsDataset, n_items: int, seed: int = 0
) -> NewUserErrors | None:
    """Fold in users from a few of their training ratings, and measure the error on their held-out ratings.

    Returns:
        The errors, or None if no user has enough ratings.
    """
    rng = np.random.default_rng(seed)
    users = _users_with_enough_ratings(training, held_out, rng)
    if not len(users):
        return None
    rows, ratings = _draw_ratings(training, users, rng)
    position = np.full(len(training.offsets), -1)
    position[users] = np.arange(len(users))
    judged = np.flatnonzero((position[held_out.user_rows] >= 0) & (held_out.item_rows < n_items))
    owners = position[held_out.user_rows[judged]]
    item_rows = held_out.item_rows[judged].astype(np.int64)
    rmse = []
    for n_given in _N_RATINGS:
        width = max(n_given, 1)
        given = np.where(np.arange(rows.shape[1]) < n_given, rows, n_items)[:, :width]
        factors, bias = embed(given, ratings[:, :width])
        predicted = predict(factors[owners], bias[owners], item_rows)
        rmse.append(float(np.sqrt(np.mean((predicted - held_out.ratings[judged]) ** 2))))
    return NewUserErrors(list(_N_RATINGS), rmse, len(users))


def _users_with_enough_ratings(
    training: RatingsByUser, held_out: RatingsDataset, rng: np.random.Generator
) -> Int64Array:
    """Draw users with as many training and held-out ratings as the measurement needs."""
    n_users = len(training.offsets) - 1
    n_held_out = np.bincount(held_out.user_rows, minlength=n_users)[:n_users]
    enough = np.flatnonzero((np.diff(training.offsets) >= max(_N_RATINGS)) & (n_held_out >= _FEWEST_HELD_OUT))
    return rng.permutation(enough)[:_MOST_USERS]


def _draw_ratings(
    training: RatingsByUser, users: Int64Array, rng: np.random.Generator
) -> tuple[Int64Array, Float32Array]:
    """Draw training ratings of every user -> item rows (n_users, n), ratings (n_users, n)."""
    offsets, n = training.offsets, max(_N_RATINGS)
    picks = np.stack([offsets[user] + rng.permutation(offsets[user + 1] - offsets[user])[:n] for user in users])
    return training.item_rows[picks], training.ratings[picks]
