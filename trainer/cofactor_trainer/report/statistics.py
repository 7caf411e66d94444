"""Compute the numbers behind the figures of the report: arrays in, arrays out, no plotting."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.evaluation.error_groups import Float64Array
from cofactor_trainer.evaluation.lorenz_curve import LorenzCurve, squared_error_curve
from cofactor_trainer.evaluation.new_users import NewUserErrors, RatingsByUser, ratings_by_user
from cofactor_trainer.evaluation.new_users import new_user_errors as measure_new_users
from cofactor_trainer.export.version_reader import ExportedVersion

_LIST_LENGTH = 10
_USERS_RECOMMENDED_TO = 1000

# The same numbers as in the server, whose ListTopItems lists the best and the worst items too.
_FEWEST_RATINGS = 20
_FEWEST_RANKED_ITEMS = 100


def fewest_ratings_to_rank(rating_counts: Int64Array) -> int:
    """Return how many ratings an item needs to be among the best or the worst: 20, or fewer in a small table.

    It is at most the count of the 100th most rated item, so that at least 100 items are ranked if there are as many.
    """
    ranked = min(_FEWEST_RANKED_ITEMS, len(rating_counts))
    return min(_FEWEST_RATINGS, int(np.partition(rating_counts, -ranked)[-ranked]))


def squared_error_by_user(version: ExportedVersion, validation: RatingsDataset) -> LorenzCurve:
    """Compute how concentrated the squared errors of the held-out ratings are in the users, the most active first."""
    predicted = version.predict(validation.user_rows, validation.item_rows)
    return squared_error_curve(np.diff(version.tables["rated.offsets"]), predicted, validation)


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
            excluded_rows=np.append(excluded, n_items)[None],
            k=np.array([min(_LIST_LENGTH, n_items)]),
            **version.default_order(),
        )
        exposures[outputs["item_rows"][0][outputs["scores"][0] > -1e29]] += 1
    return exposures[:n_items]


def new_user_errors(version: ExportedVersion, validation: RatingsDataset, seed: int = 0) -> NewUserErrors | None:
    """Measure the error for new users with the graphs of a version; None without embed_user or users to judge it on."""
    if not any(graph.name == "embed_user" for graph in version.manifest.graphs):
        return None

    def embed(item_rows: Int64Array, ratings: Float32Array) -> tuple[Float32Array, Float32Array]:
        empty = _empty_profiles(version, len(item_rows)) | _no_events(version, len(item_rows))
        outputs = version.run("embed_user", item_rows=item_rows, ratings=ratings, **empty)
        return outputs["user_factors"], outputs["user_bias"]

    def predict(factors: Float32Array, bias: Float32Array, item_rows: Int64Array) -> Float32Array:
        ratings: Float32Array = version.run("predict", user_factors=factors, user_bias=bias, item_rows=item_rows)[
            "ratings"
        ]
        return ratings

    training = training_ratings(version, validation)
    return measure_new_users(embed, predict, training, validation, int(version.manifest.item_count), seed)


def training_ratings(version: ExportedVersion, validation: RatingsDataset) -> RatingsByUser:
    """Return the ratings in a version without the held-out ones, which it lists too so as not to recommend them."""
    offsets, item_rows, ratings = (version.tables[f"rated.{part}"] for part in ("offsets", "item_rows", "ratings"))
    has_rating = version.tables.get("rated.has_rating", np.ones(len(ratings), np.uint8)) > 0
    n_columns = version.manifest.item_count + 1
    user_rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    held_out = validation.user_rows.astype(np.int64) * n_columns + validation.item_rows
    trained = has_rating & ~np.isin(user_rows * n_columns + item_rows, held_out)
    return ratings_by_user(user_rows[trained], item_rows[trained], ratings[trained], len(offsets) - 1)


def _empty_profiles(version: ExportedVersion, n_users: int) -> dict[str, npt.NDArray[Any]]:
    """Return the profile input of embed_user for users without sign-up answers; empty if the graph has none."""
    features = version.manifest.profile_features
    if not features:
        return {}
    width = sum(len(feature.categorical.categories) or 2 for feature in features)
    return {"profile": np.zeros((n_users, width), np.float32)}


def _no_events(version: ExportedVersion, n_users: int) -> dict[str, npt.NDArray[Any]]:
    """Return the events inputs of embed_user for users without events; empty if the graph has none."""
    if "rated.has_rating" not in version.tables:
        return {}
    rows = np.full((n_users, 1), version.manifest.item_count, np.int64)
    return {"event_rows": rows, "event_weights": np.zeros((n_users, 1), np.float32)}
