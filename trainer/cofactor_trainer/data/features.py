"""What is known of users and items besides the ratings, as features: genres, release year, sign-up answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cofactor_trainer.data.dataset import BoolArray, Catalogue, Float32Array, Int64Array
from cofactor_trainer.data.profile_regression import categories

# Ten bins hold enough users or items each to learn from, and let a numeric answer have any shape of effect.
_BINS = 10


def item_features(catalogue: Catalogue) -> Float32Array:
    """Genres, and the release year in bins: (n_items, n_features).

    A row's genres have unit length together, so that a film of many genres does not count for more than others.
    """
    names = {genre: column for column, genre in enumerate(sorted({g for row in catalogue.genres for g in row}))}
    genres = np.zeros((len(catalogue.item_ids), len(names)), np.float32)
    for row, of_item in enumerate(catalogue.genres):
        genres[row, [names[genre] for genre in of_item]] = 1.0
    genres /= np.sqrt(np.maximum(genres.sum(1, keepdims=True), 1.0))
    years = catalogue.release_years
    known = years > 0
    if not known.any():
        return genres
    return np.concatenate([genres, _one_hot(_bins(years.astype(np.float64), known), known)], axis=1)


def user_features(profiles: pd.DataFrame | None, n_users: int) -> Float32Array:
    """Sign-up answers, numbers in bins, and of the categories those to learn from: (n_users, n_features)."""
    if profiles is None:
        return np.zeros((n_users, 0), np.float32)
    columns = []
    for name in profiles.columns:
        answers = profiles[name]
        known = answers.notna().to_numpy()
        if pd.api.types.is_numeric_dtype(answers) and not pd.api.types.is_bool_dtype(answers):
            codes = _bins(answers.to_numpy(np.float64, na_value=0.0), known)
        else:
            codes = pd.Index(categories(answers), dtype=object).get_indexer(pd.Index(answers.astype(str)))
        columns.append(_one_hot(codes, known))
    return np.concatenate(columns, axis=1) if columns else np.zeros((n_users, 0), np.float32)


def _bins(values: npt.NDArray[np.float64], known: BoolArray) -> Int64Array:
    """The quantile bin of each value, (n,)."""
    edges = np.unique(np.quantile(values[known], np.arange(1, _BINS) / _BINS)) if known.any() else np.zeros(0)
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _one_hot(codes: Int64Array, known: BoolArray) -> Float32Array:
    """One column for each code of codes (n,); rows that are not known are 0."""
    encoded = np.zeros((len(codes), int(codes.max(initial=-1)) + 1), np.float32)
    rows = np.flatnonzero(known & (codes >= 0))
    encoded[rows, codes[rows]] = 1.0
    return encoded
