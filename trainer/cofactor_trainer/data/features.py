"""Encode side information as features: genres and release years of items, sign-up answers of users."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cofactor_trainer.data.dataset import BoolArray, Catalogue, Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.data.profile_regression import frequent_categories

# Ten bins have enough users or items each to learn from, and let the effect of a number have any shape.
_BINS = 10


def side_features(dataset: RatingsDataset, *, enabled: bool = True) -> tuple[Float32Array, Float32Array]:
    """Return the features of users (n_users, n_user_features) and of items (n_items, n_item_features).

    Both have no columns if ``enabled`` is False.
    """
    if enabled:
        return user_features(dataset.profiles, dataset.n_users), item_features(dataset.catalogue)
    return np.zeros((dataset.n_users, 0), np.float32), np.zeros((dataset.n_items, 0), np.float32)


def item_features(catalogue: Catalogue) -> Float32Array:
    """Encode genres one-hot and release years in bins, (n_items, n_features).

    The genres of an item have unit length together, so that many genres do not outweigh one.
    """
    columns = {genre: column for column, genre in enumerate(sorted({g for row in catalogue.genres for g in row}))}
    genres = np.zeros((len(catalogue.item_ids), len(columns)), np.float32)
    for row, item_genres in enumerate(catalogue.genres):
        genres[row, [columns[genre] for genre in item_genres]] = 1.0
    genres /= np.sqrt(np.maximum(genres.sum(1, keepdims=True), 1.0))
    years = catalogue.release_years
    is_known = years > 0
    if not is_known.any():
        return genres
    return np.concatenate([genres, _one_hot(_bins(years.astype(np.float64), is_known), is_known)], axis=1)


def user_features(profiles: pd.DataFrame | None, n_users: int) -> Float32Array:
    """Encode sign-up answers, numbers in bins and frequent categories one-hot, (n_users, n_features)."""
    if profiles is None:
        return np.zeros((n_users, 0), np.float32)
    columns = []
    for name in profiles.columns:
        answers = profiles[name]
        is_known = answers.notna().to_numpy()
        if pd.api.types.is_numeric_dtype(answers) and not pd.api.types.is_bool_dtype(answers):
            codes = _bins(answers.to_numpy(np.float64, na_value=0.0), is_known)
        else:
            categories = pd.Index(frequent_categories(answers), dtype=object)
            codes = categories.get_indexer(pd.Index(answers.astype(str)))
        columns.append(_one_hot(codes, is_known))
    return np.concatenate(columns, axis=1) if columns else np.zeros((n_users, 0), np.float32)


def _bins(values: npt.NDArray[np.float64], is_known: BoolArray) -> Int64Array:
    """Return the quantile bin of each value, (n,); quantiles are those of the known values."""
    edges = np.unique(np.quantile(values[is_known], np.arange(1, _BINS) / _BINS)) if is_known.any() else np.zeros(0)
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _one_hot(codes: Int64Array, is_known: BoolArray) -> Float32Array:
    """Encode codes (n,) with one column each, (n, n_codes); unknown rows and negative codes are all 0."""
    encoded = np.zeros((len(codes), int(codes.max(initial=-1)) + 1), np.float32)
    rows = np.flatnonzero(is_known & (codes >= 0))
    encoded[rows, codes[rows]] = 1.0
    return encoded
