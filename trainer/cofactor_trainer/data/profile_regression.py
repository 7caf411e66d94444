"""From sign-up answers to a user's row: a ridge regression that moves the prior's mean.

The columns are those of Manifest.profile_features, an answer that is not given being all 0, which leaves the mean
where it is. So that any part of the answers can be given, the regression sees every user with all answers, with
each alone and with each left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cofactor.v1 import manifest_pb2

Float64Array = npt.NDArray[np.float64]

# An answer that fewer users gave is not learnt from: its few users would be recognisable.
MIN_USERS_PER_CATEGORY = 5
# A column with more answers than this is an identifier or free text.
MAX_CATEGORIES = 200
# Columns are held to this range, here and in the graph: an outlier's square must not swamp the ratings.
COLUMN_RANGE = (-3.0, 9.0)
PENALTIES = 10.0 ** np.arange(0, 5.5, 0.5)


@dataclass(frozen=True)
class ProfileModel:
    """How answers become columns, and columns a shift of the user's row.

    Attributes:
        features: in the order of their columns.
        weight: (n_columns, d + 1).
    """

    features: tuple[manifest_pb2.ProfileFeature, ...]
    weight: Float64Array


def categories(answers: pd.Series) -> list[str]:
    """The answers to learn from, ascending; none where there is but one, or the column tells users apart too well."""
    counts = answers.dropna().astype(str).value_counts()
    names = sorted(counts.index[counts >= MIN_USERS_PER_CATEGORY])
    return names if 2 <= len(names) <= MAX_CATEGORIES else []


def encode(features: tuple[manifest_pb2.ProfileFeature, ...], profiles: pd.DataFrame) -> Float64Array:
    """Answers as columns, (n_users, n_columns)."""
    return np.hstack([_columns(feature, profiles[feature.key]) for feature in features])


def fit_profile_model(profiles: pd.DataFrame, rows: Float64Array, covariance: Float64Array) -> ProfileModel | None:
    """Regress user rows (n_users, d + 1), minus their mean, on the answers; None where no answer is of use.

    covariance (d + 1, d + 1) of the user rows gives errors in different columns a common unit. The penalty has the
    least leave-one-out error, and there is no model where every penalty is worse than not to look at the answers.
    """
    features = tuple(feature for name in profiles for feature in _feature(str(name), profiles[name]))
    if not features:
        return None
    columns = encode(features, profiles)
    target = rows - rows.mean(0)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), target.T).T
    errors = [_leave_one_out_error(columns, whitened, penalty) for penalty in PENALTIES]
    if min(errors) >= np.square(whitened).mean():
        return None
    penalty = float(PENALTIES[np.argmin(errors)])
    parts = _parts(features, columns)
    gram = sum(part.T @ part for part in parts) + len(parts) * penalty * np.eye(columns.shape[1])
    return ProfileModel(features, np.linalg.solve(gram, sum(part.T @ target for part in parts)))


def _feature(name: str, answers: pd.Series) -> list[manifest_pb2.ProfileFeature]:
    """At most one: none where the answers tell users apart too well or not at all."""
    feature = manifest_pb2.ProfileFeature(key=name)
    if pd.api.types.is_numeric_dtype(answers) and not pd.api.types.is_bool_dtype(answers):
        values = answers.to_numpy(dtype=np.float64, na_value=np.nan)
        values = values[np.isfinite(values)]
        if len(values) < MIN_USERS_PER_CATEGORY or not values.std() > 0:
            return []
        feature.numeric.mean, feature.numeric.scale = float(values.mean()), float(values.std())
        return [feature]
    feature.categorical.categories.extend(categories(answers))
    return [feature] if feature.categorical.categories else []


def _columns(feature: manifest_pb2.ProfileFeature, answers: pd.Series) -> Float64Array:
    if feature.WhichOneof("kind") == "numeric":
        values = answers.to_numpy(dtype=np.float64, na_value=np.nan)
        standard = np.nan_to_num((values - feature.numeric.mean) / feature.numeric.scale)
        return np.column_stack([standard, standard**2]).clip(*COLUMN_RANGE)
    given = answers.astype(str).to_numpy(dtype=str)
    columns = given[:, None] == np.array(feature.categorical.categories)[None]
    known: Float64Array = (columns & ~answers.isna().to_numpy()[:, None]).astype(np.float64)
    return known


def _leave_one_out_error(columns: Float64Array, target: Float64Array, penalty: float) -> float:
    """Mean squared error of ridge regression on each row, fitted without it (Allen 1974)."""
    inverse = np.linalg.inv(columns.T @ columns + penalty * np.eye(columns.shape[1]))
    leverage = np.einsum("ij,jk,ik->i", columns, inverse, columns)
    residual = target - columns @ (inverse @ (columns.T @ target))
    return float(np.square(residual / (1 - leverage)[:, None]).mean())


def _parts(features: tuple[manifest_pb2.ProfileFeature, ...], columns: Float64Array) -> list[Float64Array]:
    """The columns of all answers, of each alone, and of all but each."""
    widths = [2 if f.WhichOneof("kind") == "numeric" else len(f.categorical.categories) for f in features]
    owner = np.repeat(np.arange(len(features)), widths)
    masks = {tuple(np.ones(len(owner), dtype=bool))}
    for number in range(len(features)):
        masks |= {tuple(owner == number), tuple(owner != number)}
    return [columns * np.array(mask) for mask in sorted(masks) if any(mask)]
