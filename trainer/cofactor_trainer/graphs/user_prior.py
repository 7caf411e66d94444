"""What is known of a user before the first rating: a Gaussian over user rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.profile_regression import Float64Array, ProfileModel
from cofactor_trainer.scoring.trained_model import TrainedModel


@dataclass(frozen=True)
class UserPrior:
    """A Gaussian over a user's row, the bias as its last element.

    Attributes:
        mean: (d + 1,).
        covariance: (d + 1, d + 1), in units of the variance of a rating's error.
        profile: how sign-up answers move the mean, or None.
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


def rows_prior(model: TrainedModel, noise: float = 1.0) -> UserPrior:
    """Mean and covariance of the trained user rows; the unknown user's is not one of them.

    noise is the variance of a rating's error. A little is added to the variances, so that a direction in which all
    users agree, or fewer users than factors, leaves a matrix that can be inverted.
    """
    rows = np.column_stack([model.user_factors, model.user_bias])[:-1].astype(np.float64)
    return UserPrior(rows.mean(0), regular(np.atleast_2d(np.cov(rows, rowvar=False, bias=True))) / noise)


def regular(covariance: Float64Array) -> Float64Array:
    """A covariance that can be inverted: every variance raised by a ten-thousandth of their mean."""
    ridge = 1e-4 * np.trace(covariance) / len(covariance) + 1e-8
    regularised: Float64Array = covariance + ridge * np.eye(len(covariance))
    return regularised
