"""Describe a user before the first rating, by a Gaussian prior over user rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.data.profile_regression import Float64Array, ProfileModel
from cofactor_trainer.scoring.trained_model import TrainedModel

_ROWS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class UserPrior:
    """A Gaussian prior over user rows; a row is the user's factors followed by the bias.

    Attributes:
        mean: (d + 1,).
        covariance: (d + 1, d + 1), in units of the variance of a rating's error.
        profile: model of how sign-up answers move the mean; None without profiles.
    """

    mean: Float64Array
    covariance: Float64Array
    profile: ProfileModel | None = None

    @property
    def precision(self) -> Float64Array:
        """Inverse of the covariance."""
        return np.linalg.inv(self.covariance).astype(np.float64)

    @property
    def root(self) -> Float64Array:
        """Lower triangular L with L Lᵀ = covariance."""
        return np.linalg.cholesky(self.covariance).astype(np.float64)


@dataclass(frozen=True)
class UserPriors:
    """The priors of a model.

    Attributes:
        main: prior over the factors and the bias, without the ranking part.
        ranking: prior over the factors that the items are ranked by; None for a model without a ranking part.
    """

    main: UserPrior
    ranking: UserPrior | None = None


def prior_of_trained_rows(model: TrainedModel, noise: float = 1.0) -> UserPrior:
    """Return the mean and covariance of the trained user rows, without the unknown user.

    noise is the variance of a rating's error.
    """
    mean, covariance = moments(np.column_stack([model.user_factors, model.user_bias])[:-1])
    return UserPrior(mean, regularise(covariance) / noise)


def moments(rows: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Return the mean and the covariance of rows, computed in float64: (n, d) -> (d,), (d, d)."""
    if len(rows) <= _ROWS_AT_ONCE:
        exact = rows.astype(np.float64)
        return exact.mean(0), np.atleast_2d(np.cov(exact, rowvar=False, bias=True))
    # In parts: a million rows in float64, and what numpy subtracts from them, would take a gigabyte.
    mean = rows.mean(0, dtype=np.float64)
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        centred = rows[start : start + _ROWS_AT_ONCE] - mean
        total += centred.T @ centred
    return mean, total / len(rows)


def regularise(covariance: Float64Array) -> Float64Array:
    """Add a ten-thousandth of the mean variance to every variance.

    The covariance is singular if all users agree in some direction, or if there are fewer users than factors. The
    result can always be inverted.
    """
    ridge = 1e-4 * np.trace(covariance) / len(covariance) + 1e-8
    regularised: Float64Array = covariance + ridge * np.eye(len(covariance))
    return regularised
