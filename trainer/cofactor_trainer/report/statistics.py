"""Compute the numbers behind the figures of the report: arrays in, arrays out, no plotting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.export.version_reader import ExportedVersion

Float64Array = npt.NDArray[np.float64]

_LIST_LENGTH = 10
_USERS_RECOMMENDED_TO = 1000
_NEW_USER_RATINGS = (0, 1, 2, 5, 10, 20, 50)
_NEW_USERS = 200
_FEWEST_HELD_OUT = 5


# The same numbers as in the server, whose ListTopItems lists the best and the worst items too.
_FEWEST_RATINGS = 20
_FEWEST_RANKED_ITEMS = 100


def fewest_ratings_to_rank(rating_counts: Int64Array) -> int:
    """Return how many ratings an item needs to be among the best or the worst: 20, or fewer in a small table.

    It is at most the count of the 100th most rated item, so that at least 100 items are ranked if there are as many.
    """
    ranked = min(_FEWEST_RANKED_ITEMS, len(rating_counts))
    return min(_FEWEST_RATINGS, int(np.partition(rating_counts, -ranked)[-ranked]))


@dataclass(frozen=True)
class GroupErrors:
    """Prediction errors by group.

    Attributes:
        labels: labels of the groups.
        rmse: root mean squared error of every group.
        mean_error: mean of predicted less true, of every group.
        counts: number of ratings in every group.
    """

    labels: list[str]
    rmse: Float64Array
    mean_error: Float64Array
    counts: Int64Array


def errors_by_group(groups: Int64Array, labels: list[str], predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """Compute the errors of every group that has ratings.

    groups (n,) positions in labels, predicted (n,), true (n,).
    """
    error = predicted.astype(np.float64) - true
    counts = np.bincount(groups, minlength=len(labels))
    present = np.flatnonzero(counts)
    squared = np.bincount(groups, error**2, len(labels))[present] / counts[present]
    signed = np.bincount(groups, error, len(labels))[present] / counts[present]
    return GroupErrors([labels[group] for group in present], np.sqrt(squared), signed, counts[present])


def errors_by_rating(predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """Group errors by the true rating, rounded to halves: predicted (n,), true (n,)."""
    halves, groups = np.unique(np.round(true * 2) / 2, return_inverse=True)
    return errors_by_group(groups, [f"{half:g}" for half in halves], predicted, true)


def errors_by_popularity(counts: Int64Array, predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """Group errors by the number of training ratings of the item: counts (n,), predicted (n,), true (n,)."""
    edges = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000]
    labels = ["0", "1"] + [f"{low:,}-{high - 1:,}" for low, high in pairwise(edges[1:])]
    labels.append(f"{edges[-1]:,} and more")
    return errors_by_group(np.searchsorted(edges, counts, side="right"), labels, predicted, true)


def squared_error_by_user(version: ExportedVersion, validation: RatingsDataset) -> Float64Array:
    """Sum the squared errors of the held-out ratings of every known user, (n_users,)."""
    n_users = version.manifest.user_count
    predicted = version.predict(validation.user_rows, validation.item_rows)
    squared = (predicted.astype(np.float64) - validation.ratings) ** 2
    return np.bincount(validation.user_rows, squared, n_users + 1)[:n_users].astype(np.float64)


def principal_components(factors: Float32Array, n_components: int = 2) -> tuple[Float64Array, Float64Array]:
    """Project factors on their principal components.

    factors (n, d) -> coordinates (n, n_components), share of the variance of every component (n_components,).
    """
    centred = factors.astype(np.float64) - factors.mean(0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    variance = singular**2
    total = variance.sum()
    share = variance[:n_components] / total if total else np.zeros(min(n_components, len(variance)))
    return left[:, :n_components] * singular[:n_components], share


@dataclass(frozen=True)
class LorenzCurve:
    """Concentration of a total (M. Lorenz, Methods of measuring the concentration of wealth, 1905).

    Attributes:
        population: share of the users or items, the most active first, from 0 to 1.
        held: share of the total that they hold, from 0 to 1.
    """

    population: Float64Array
    held: Float64Array

    def held_by(self, share: float) -> float:
        """Return the share of the total that the most active ``share`` of the population holds."""
        return float(np.interp(share, self.population, self.held))


def lorenz_curve(activity: Int64Array, amounts: Int64Array | Float64Array) -> LorenzCurve:
    """Compute how concentrated amounts (n,) are in a population ordered by activity (n,), the most active first."""
    held = np.concatenate([[0.0], np.cumsum(np.asarray(amounts, np.float64)[np.argsort(-activity, kind="stable")])])
    return LorenzCurve(np.linspace(0, 1, len(held)), held / (held[-1] or 1.0))


def count_exposures(version: ExportedVersion, seed: int = 0) -> Int64Array:
    """Count how often every item is among the ten best of a sample of the users, (n_items,)."""
    n_users, n_items = version.manifest.user_count, version.manifest.item_count
    exposures = np.zeros(n_items + 1, np.int64)
    sample = np.random.default_rng(seed).permutation(n_users)[:_USERS_RECOMMENDED_TO]
    offsets, rated = version.tables["rated.offsets"], version.tables["rated.item_rows"]
    for row in sample:
        excluded = rated[offsets[row] : offsets[row + 1]].astype(np.int64)
        outputs = version.run(
            "recommend",
            user_factors=version.tables["user_factors"][row : row + 1],
            user_bias=version.tables["user_bias"][row : row + 1],
            popularity_weight=np.array([version.manifest.default_popularity_weight], np.float32),
            excluded_rows=np.append(excluded, n_items)[None],
            k=np.array([min(_LIST_LENGTH, n_items)]),
        )
        exposures[outputs["item_rows"][0][outputs["scores"][0] > -1e29]] += 1
    return exposures[:n_items]


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


def new_user_errors(version: ExportedVersion, validation: RatingsDataset, seed: int = 0) -> NewUserErrors | None:
    """Fold in users from a few of their training ratings, and measure the error on their held-out ratings.

    Returns:
        The errors, or None if the model has no embed_user or no user has enough ratings.
    """
    if not any(graph.name == "embed_user" for graph in version.manifest.graphs):
        return None
    n_items = version.manifest.item_count
    rng = np.random.default_rng(seed)
    training = training_ratings(version, validation)
    users = _users_with_enough_ratings(training, validation, rng)
    if not len(users):
        return None
    rows, ratings = _draw_training_ratings(training, users, rng)
    position = np.full(version.manifest.user_count + 1, -1)
    position[users] = np.arange(len(users))
    judged = np.flatnonzero((position[validation.user_rows] >= 0) & (validation.item_rows < n_items))
    owners = position[validation.user_rows[judged]]
    profile = _empty_profiles(version, len(users))
    rmse = []
    for n_given in _NEW_USER_RATINGS:
        width = max(n_given, 1)
        given = np.where(np.arange(rows.shape[1]) < n_given, rows, n_items)[:, :width]
        embedded = version.run("embed_user", item_rows=given, ratings=ratings[:, :width], **profile)
        predicted = version.run(
            "predict",
            user_factors=embedded["user_factors"][owners],
            user_bias=embedded["user_bias"][owners],
            item_rows=validation.item_rows[judged].astype(np.int64),
        )["ratings"]
        rmse.append(float(np.sqrt(np.mean((predicted - validation.ratings[judged]) ** 2))))
    return NewUserErrors(list(_NEW_USER_RATINGS), rmse, len(users))


@dataclass(frozen=True)
class TrainingRatings:
    """The ratings that a version was trained on, by user.

    Attributes:
        offsets: (n_users + 1,); the ratings of user u are at offsets[u] to offsets[u + 1] - 1.
        item_rows: (n,).
        ratings: (n,).
    """

    offsets: Int64Array
    item_rows: Int64Array
    ratings: Float32Array


def training_ratings(version: ExportedVersion, validation: RatingsDataset) -> TrainingRatings:
    """Return the ratings in a version without the held-out ones, which it lists too so as not to recommend them."""
    offsets, item_rows, ratings = (version.tables[f"rated.{part}"] for part in ("offsets", "item_rows", "ratings"))
    n_columns = version.manifest.item_count + 1
    user_rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    held_out = validation.user_rows.astype(np.int64) * n_columns + validation.item_rows
    trained = ~np.isin(user_rows * n_columns + item_rows, held_out)
    counts = np.bincount(user_rows[trained], minlength=len(offsets) - 1)
    return TrainingRatings(
        np.concatenate([[0], np.cumsum(counts)]), item_rows[trained].astype(np.int64), ratings[trained]
    )


def _users_with_enough_ratings(
    training: TrainingRatings, validation: RatingsDataset, rng: np.random.Generator
) -> Int64Array:
    """Draw users with as many training and held-out ratings as the measurement needs."""
    offsets = training.offsets
    held_out = np.bincount(validation.user_rows, minlength=len(offsets))[: len(offsets) - 1]
    enough = np.flatnonzero((np.diff(offsets) >= max(_NEW_USER_RATINGS)) & (held_out >= _FEWEST_HELD_OUT))
    return rng.permutation(enough)[:_NEW_USERS]


def _draw_training_ratings(
    training: TrainingRatings, users: Int64Array, rng: np.random.Generator
) -> tuple[Int64Array, Float32Array]:
    """Draw training ratings of every user -> item rows (n_users, n), ratings (n_users, n)."""
    offsets, n = training.offsets, max(_NEW_USER_RATINGS)
    picks = np.stack([offsets[user] + rng.permutation(offsets[user + 1] - offsets[user])[:n] for user in users])
    return training.item_rows[picks], training.ratings[picks]


def _empty_profiles(version: ExportedVersion, n_users: int) -> dict[str, npt.NDArray[Any]]:
    """Return the profile input of embed_user for users without sign-up answers; empty if the graph has none."""
    features = version.manifest.profile_features
    if not features:
        return {}
    width = sum(len(feature.categorical.categories) or 2 for feature in features)
    return {"profile": np.zeros((n_users, width), np.float32)}
