"""What is known of a user before the first rating: a Gaussian over user rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cofactor_trainer.trained import TrainedModel

Float64Array = npt.NDArray[np.float64]

# Covariance of the user rows times this, in units of the noise of a rating (benchmarks/fold_in.py).
COVARIANCE_SCALE = 0.4


@dataclass(frozen=True)
class UserPrior:
    """A Gaussian over a user's row, the bias as its last element.

    Attributes:
        mean: (d + 1,).
        covariance: (d + 1, d + 1), scaled so that a squared error of 1 in a rating weighs as much as a
            squared Mahalanobis distance of 1.
    """

    mean: Float64Array
    covariance: Float64Array

    @property
    def precision(self) -> Float64Array:
        """Inverse of the covariance."""
        return np.linalg.inv(self.covariance).astype(np.float64)

    @property
    def root(self) -> Float64Array:
        """Lower triangular L with L Lᵀ = covariance."""
        return np.linalg.cholesky(self.covariance).astype(np.float64)


def user_prior(model: TrainedModel, scale: float = COVARIANCE_SCALE) -> UserPrior:
    """Mean and covariance of the trained user rows; the unknown user's is not one of them.

    A little is added to the variances, so that a direction in which all users agree, or fewer users than
    factors, leaves a matrix that can be inverted.
    """
    rows = np.column_stack([model.user_factors, model.user_bias])[:-1].astype(np.float64)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False, bias=True)) * scale
    ridge = 1e-4 * np.trace(covariance) / len(covariance) + 1e-8
    return UserPrior(rows.mean(0), covariance + ridge * np.eye(len(covariance)))
