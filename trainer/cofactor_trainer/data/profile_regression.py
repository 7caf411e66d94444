"""Regress the factors of users on their sign-up answers, to move the mean of the prior of new users.

The factors of items are regressed on their attributes in the same way; an attribute may have several texts.

The regression is a ridge regression. Its columns are described by Manifest.profile_features, or by item_features. The
columns of a missing answer are all 0, which leaves the mean unchanged. Because new users may give any part of the
answers, the regression sees every user several times: with all answers, with each answer alone, and with each answer
left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cofactor.v1 import manifest_pb2

Float64Array = npt.NDArray[np.float64]

# Rarer answers are not learnt from, because their few users would be recognisable. The range of a number leaves out as
# many answers, less one, at either end.
MIN_USERS_PER_CATEGORY = 5
# A column with more distinct answers is an identifier or free text.
MAX_CATEGORIES = 200
# Columns are clipped to this range, here and in the graph: the square of an outlier must not outweigh the ratings.
COLUMN_RANGE = (-3.0, 9.0)
PENALTIES = 10.0 ** np.arange(0, 5.5, 0.5)


@dataclass(frozen=True)
class ProfileModel:
    """A fitted regression from sign-up answers to a shift of a user's factors and bias.

    Attributes:
        features: the encoding of the answers, in the order of the columns.
        weight: (n_columns, d + 1), the coefficients of d factors and the bias.
    """

    features: tuple[manifest_pb2.ProfileFeature, ...]
    weight: Float64Array


def frequent_categories(answers: pd.Series) -> list[str]:
    """Return the answers that enough users gave, sorted.

    The list is empty if only one answer is left, or so many that they nearly identify users.
    """
    counts = answers.dropna().astype(str).value_counts()
    names = sorted(counts.index[counts >= MIN_USERS_PER_CATEGORY])
    return names if 2 <= len(names) <= MAX_CATEGORIES else []


def encode_profiles(features: tuple[manifest_pb2.ProfileFeature, ...], profiles: pd.DataFrame) -> Float64Array:
    """Encode sign-up answers as the columns of the regression, (n_users, n_columns)."""
    return np.hstack([_columns(feature, profiles[feature.key]) for feature in features])


def fit_profile_model(
    profiles: pd.DataFrame,
    rows: Float64Array,
    covariance: Float64Array,
    features: tuple[manifest_pb2.ProfileFeature, ...] | None = None,
) -> ProfileModel | None:
    """Regress the factors and biases of users on their sign-up answers; return None if the answers predict nothing.

    The target is rows (n_users, d + 1) minus their mean. covariance (d + 1, d + 1) of the rows scales the errors of
    all columns to a common unit. The penalty is the one with the lowest leave-one-out error. The answers predict
    nothing if that error is no lower than the error without the answers. features is the encoding of the answers; None
    to choose it.
    """
    if features is None:
        described = (describe_feature(str(name), profiles[name]) for name in profiles)
        features = tuple(feature for feature in described if feature is not None)
    if not features:
        return None
    columns = encode_profiles(features, profiles)
    target = rows - rows.mean(0)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), target.T).T
    penalty, error = ridge_penalty(columns, whitened)
    if error >= np.square(whitened).mean():
        return None
    parts = _partial_answers(features, columns)
    gram = sum(part.T @ part for part in parts) + len(parts) * penalty * np.eye(columns.shape[1])
    return ProfileModel(features, np.linalg.solve(gram, sum(part.T @ target for part in parts)))


def describe_feature(name: str, answers: pd.Series) -> manifest_pb2.ProfileFeature | None:
    """Choose the encoding of a column of answers; return None if there is nothing to learn from it."""
    feature = manifest_pb2.ProfileFeature(key=name)
    if pd.api.types.is_numeric_dtype(answers) and not pd.api.types.is_bool_dtype(answers):
        values = answers.to_numpy(dtype=np.float64, na_value=np.nan)
        values = values[np.isfinite(values)]
        if len(values) < MIN_USERS_PER_CATEGORY or not values.std() > 0:
            return None
        feature.numeric.mean, feature.numeric.scale = float(values.mean()), float(values.std())
        if len(values) >= 2 * MIN_USERS_PER_CATEGORY:
            usual = np.sort(values)[MIN_USERS_PER_CATEGORY - 1 : -MIN_USERS_PER_CATEGORY + 1]
            feature.numeric.lowest, feature.numeric.highest = float(usual[0]), float(usual[-1])
        return feature
    feature.categorical.categories.extend(frequent_categories(answers))
    return feature if feature.categorical.categories else None


def _columns(feature: manifest_pb2.ProfileFeature, answers: pd.Series) -> Float64Array:
    """Encode one column of answers: a standardised number and its square, or categories one-hot."""
    if feature.WhichOneof("kind") == "numeric":
        values = answers.to_numpy(dtype=np.float64, na_value=np.nan)
        standardised = np.nan_to_num((values - feature.numeric.mean) / feature.numeric.scale)
        return np.column_stack([standardised, standardised**2]).clip(*COLUMN_RANGE)
    categories = list(feature.categorical.categories)
    # An answer of several texts, a tuple, becomes a row of its own for each.
    texts = answers.reset_index(drop=True).explode()
    # The code of an answer that is missing or not a category is -1.
    codes = pd.Index(categories).get_indexer(pd.Index(texts.astype(str).where(texts.notna())))
    one_hot = np.zeros((len(answers), len(categories)))
    is_known = codes >= 0
    one_hot[texts.index.to_numpy()[is_known], codes[is_known]] = 1.0
    return one_hot


def ridge_penalty(columns: Float64Array, target: Float64Array) -> tuple[float, float]:
    """Return the penalty with the lowest leave-one-out error, and that error; both arrays have a mean of about 0."""
    errors = [_leave_one_out_error(columns, target, penalty) for penalty in PENALTIES]
    return float(PENALTIES[np.argmin(errors)]), min(errors)


def _leave_one_out_error(columns: Float64Array, target: Float64Array, penalty: float) -> float:
    """Return the mean squared error of ridge regression on each row when it is fitted without that row.

    D. M. Allen, The relationship between variable selection and data augmentation, 1974.
    """
    inverse = np.linalg.inv(columns.T @ columns + penalty * np.eye(columns.shape[1]))
    leverage = ((columns @ inverse) * columns).sum(1)
    residual = target - columns @ (inverse @ (columns.T @ target))
    return float(np.square(residual / (1 - leverage)[:, None]).mean())


def _partial_answers(features: tuple[manifest_pb2.ProfileFeature, ...], columns: Float64Array) -> list[Float64Array]:
    """Return the columns with all answers given, with only one given, and with all but one given."""
    widths = [2 if f.WhichOneof("kind") == "numeric" else len(f.categorical.categories) for f in features]
    owner = np.repeat(np.arange(len(features)), widths)
    masks = {tuple(np.ones(len(owner), dtype=bool))}
    for number in range(len(features)):
        masks |= {tuple(owner == number), tuple(owner != number)}
    return [columns * np.array(mask) for mask in sorted(masks) if any(mask)]
