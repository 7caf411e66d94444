"""Fold in users that a version does not know, by its own graph embed_user."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, RowArray
from cofactor_trainer.data.profile_regression import encode_profiles
from cofactor_trainer.refresh.pair_table import PairTable
from cofactor_trainer.refresh.starting_version import StartingVersion

_USERS_AT_ONCE = 32


def fold_in_users(
    start: StartingVersion, dataset: RatingsDataset, users: Int64Array, old_item_rows: RowArray
) -> tuple[Float32Array, Float32Array]:
    """Return the factors (m, d) and biases (m,) of users, as a server of the version would embed them.

    Args:
        start: the version.
        dataset: ratings, or weights of events.
        users: (m,) rows of the users in the data set.
        old_item_rows: (n_items + 1,) row in the version of every item; ratings of items that it lacks are left out.
    """
    known = old_item_rows[dataset.item_rows] < start.n_items
    pairs = PairTable(
        dataset.user_rows[known], old_item_rows[dataset.item_rows[known]], dataset.ratings[known], dataset.n_users + 1
    )
    factors = np.empty((len(users), start.model.user_factors.shape[1]), np.float32)
    bias = np.empty(len(users), np.float32)
    sizes = np.array([len(pairs.of(user)[0]) for user in users], np.int64)
    order = np.argsort(sizes, kind="stable")  # users of one run have similar numbers of ratings
    profiles = _profiles(start, dataset, users)
    for first in range(0, len(users), _USERS_AT_ONCE):
        block = order[first : first + _USERS_AT_ONCE]
        width = max(1, int(sizes[block].max()))
        item_rows = np.full((len(block), width), start.n_items, np.int64)
        ratings = np.zeros((len(block), width), np.float32)
        for line, number in enumerate(block):
            rows, values = pairs.of(users[number])
            item_rows[line, : len(rows)], ratings[line, : len(rows)] = rows, values
        inputs: dict[str, npt.NDArray[Any]] = {"item_rows": item_rows, "ratings": ratings}
        if profiles is not None:
            inputs["profile"] = profiles[block]
        embedded = start.exported.run("embed_user", **inputs)
        factors[block], bias[block] = embedded["user_factors"], embedded["user_bias"]
    return factors, bias


def _profiles(start: StartingVersion, dataset: RatingsDataset, users: Int64Array) -> Float32Array | None:
    """Return the encoded sign-up answers (m, P); None if the version reads none. An answer may be missing."""
    features = tuple(start.exported.manifest.profile_features)
    if not features:
        return None
    keys = [feature.key for feature in features]
    if dataset.profiles is None:
        widths = [2 if f.WhichOneof("kind") == "numeric" else len(f.categorical.categories) for f in features]
        return np.zeros((len(users), sum(widths)), np.float32)
    return encode_profiles(features, dataset.profiles.reindex(columns=keys).iloc[users]).astype(np.float32)
