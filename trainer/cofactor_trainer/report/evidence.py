"""The numbers behind the report's figures: arrays in, arrays out, no plotting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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


@dataclass(frozen=True)
class GroupErrors:
    """Errors of predictions, by group.

    Attributes:
        labels: the groups.
        rmse: of each.
        mean_error: predicted less true, of each.
        counts: ratings in each.
    """

    labels: list[str]
    rmse: Float64Array
    mean_error: Float64Array
    counts: Int64Array


def errors_by_group(groups: Int64Array, labels: list[str], predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """Error of each group that has ratings; groups (n,) are positions in labels."""
    error = predicted.astype(np.float64) - true
    counts = np.bincount(groups, minlength=len(labels))
    held = np.flatnonzero(counts)
    squared = np.bincount(groups, error**2, len(labels))[held] / counts[held]
    signed = np.bincount(groups, error, len(labels))[held] / counts[held]
    return GroupErrors([labels[g] for g in held], np.sqrt(squared), signed, counts[held])


def errors_by_rating(predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """By the true rating, halves as they are, anything finer rounded to halves."""
    halves, groups = np.unique(np.round(true * 2) / 2, return_inverse=True)
    return errors_by_group(groups, [f"{half:g}" for half in halves], predicted, true)


def errors_by_popularity(counts: Int64Array, predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """By how often the item was rated in training: counts (n,), one for each prediction."""
    edges = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000]
    labels = ["0", "1"] + [f"{low:,}-{high - 1:,}" for low, high in pairwise(edges[1:])]
    labels.append(f"{edges[-1]:,} and more")
    return errors_by_group(np.searchsorted(edges, counts, side="right"), labels, predicted, true)


def principal_components(factors: Float32Array, n_components: int = 2) -> tuple[Float64Array, Float64Array]:
    """Coordinates of rows (n, d) on the directions they vary most in -> (n, c), share of the variance (c,)."""
    centred = factors.astype(np.float64) - factors.mean(0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    variance = singular**2
    total = variance.sum()
    share = variance[:n_components] / total if total else np.zeros(min(n_components, len(variance)))
    return left[:, :n_components] * singular[:n_components], share


@dataclass(frozen=True)
class Lorenz:
    """What share of a whole the most active part holds.

    Attributes:
        population: share of the users or items, the most active first, from 0 to 1.
        held: share of the whole that they hold, from 0 to 1.
    """

    population: Float64Array
    held: Float64Array

    def held_by(self, share: float) -> float:
        """Share of the whole that the most active ``share`` holds."""
        return float(np.interp(share, self.population, self.held))


def lorenz(activity: Int64Array, amounts: Int64Array | Float64Array) -> Lorenz:
    """Shares of amounts (n,) held by a population that activity (n,) orders."""
    held = np.concatenate([[0.0], np.cumsum(np.asarray(amounts, np.float64)[np.argsort(-activity, kind="stable")])])
    return Lorenz(np.linspace(0, 1, len(held)), held / (held[-1] or 1.0))


def exposure(version: ExportedVersion, seed: int = 0) -> Int64Array:
    """How often each item is among the first ten for a sample of the users, (n_items,)."""
    n_users, n_items = version.manifest.user_count, version.manifest.item_count
    shown = np.zeros(n_items + 1, np.int64)
    sample = np.random.default_rng(seed).permutation(n_users)[:_USERS_RECOMMENDED_TO]
    offsets, rated = version.tables["rated.offsets"], version.tables["rated.item_rows"]
    for row in sample:
        excluded = rated[offsets[row] : offsets[row + 1]].astype(np.int64)
        answer = version.run(
            "recommend",
            user_factors=version.tables["user_factors"][row : row + 1],
            user_bias=version.tables["user_bias"][row : row + 1],
            popularity_weight=np.array([version.manifest.default_popularity_weight], np.float32),
            excluded_rows=np.append(excluded, n_items)[None],
            k=np.array([min(_LIST_LENGTH, n_items)]),
        )
        shown[answer["item_rows"][0][answer["scores"][0] > -1e29]] += 1
    return shown[:n_items]


@dataclass(frozen=True)
class NewUserErrors:
    """How good predictions for a new user get with ratings.

    Attributes:
        n_ratings: ratings folded in.
        rmse: on the held-out ratings of the same users.
        n_users: how many users had enough ratings.
    """

    n_ratings: list[int]
    rmse: list[float]
    n_users: int


def new_user_errors(version: ExportedVersion, validation: RatingsDataset, seed: int = 0) -> NewUserErrors | None:
    """Folds users in from a few of their training ratings and judges on their held-out ones.

    None where the model has no embed_user, asks for a profile, or too few users have ratings to spare.
    """
    if not any(graph.name == "embed_user" for graph in version.manifest.graphs):
        return None
    n_items = version.manifest.item_count
    offsets = version.tables["rated.offsets"]
    held_out = np.bincount(validation.user_rows, minlength=len(offsets))[: len(offsets) - 1]
    enough = np.flatnonzero((np.diff(offsets) >= max(_NEW_USER_RATINGS)) & (held_out >= _FEWEST_HELD_OUT))
    if not len(enough):
        return None
    rng = np.random.default_rng(seed)
    users = rng.permutation(enough)[:_NEW_USERS]
    n_given = max(_NEW_USER_RATINGS)
    picks = np.stack([offsets[u] + rng.permutation(offsets[u + 1] - offsets[u])[:n_given] for u in users])
    rows = version.tables["rated.item_rows"][picks].astype(np.int64)
    ratings = version.tables["rated.ratings"][picks]
    position = np.full(len(offsets), -1)
    position[users] = np.arange(len(users))
    judged = np.flatnonzero((position[validation.user_rows] >= 0) & (validation.item_rows < n_items))
    owners = position[validation.user_rows[judged]]
    profile = {}
    if version.manifest.profile_features:
        width = sum(len(f.categorical.categories) or 2 for f in version.manifest.profile_features)
        profile = {"profile": np.zeros((len(users), width), np.float32)}
    rmse = []
    for n in _NEW_USER_RATINGS:
        given = np.where(np.arange(n_given) < n, rows, n_items)[:, : max(n, 1)]
        user = version.run("embed_user", item_rows=given, ratings=ratings[:, : max(n, 1)], **profile)
        predicted = version.run(
            "predict",
            user_factors=user["user_factors"][owners],
            user_bias=user["user_bias"][owners],
            item_rows=validation.item_rows[judged].astype(np.int64),
        )["ratings"]
        rmse.append(float(np.sqrt(np.mean((predicted - validation.ratings[judged]) ** 2))))
    return NewUserErrors(list(_NEW_USER_RATINGS), rmse, len(users))
