"""Sample a Bayesian matrix factorisation of ordered ratings.

The model of bayesian_mf.py explains a latent value. The rating is the level between whose thresholds the value falls:
the step from 1 to 2 stars need not be as large as that from 4 to 5, and no rating is beyond the ends of the scale.
Every sweep draws the thresholds and the latent values, and then all vectors given the latent values.

Sources: J. Albert and S. Chib, Bayesian analysis of binary and polychotomous response data, 1993 (the latent values),
and Sequential ordinal modeling with applications to survival data, 2001 (thresholds drawn without the latent values).
The thresholds are drawn from the normal approximation of their posterior, which is narrow: all ratings determine them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cofactor_trainer.architectures.bayesian_mf import GibbsSampler
from cofactor_trainer.data.dataset import Float32Array, RatingsDataset

Float64Array = npt.NDArray[np.float64]

# More levels than this are numbers rather than grades.
MAX_LEVELS = 20
# Smallest distance of two thresholds, and precision of their normal prior around the first ones.
_MIN_STEP, _THRESHOLD_PRECISION = 1e-3, 1.0
_NEARLY_INFINITE = 1e9
_SMALLEST_PROBABILITY = 1e-12


def has_levels(ratings: Float32Array) -> bool:
    """Return True if the ratings (n,) are few enough levels to be ordered outcomes."""
    return 2 <= len(np.unique(ratings)) <= MAX_LEVELS


class OrdinalSampler(GibbsSampler):
    """Draws samples of the model from its posterior; the same seed draws the same samples.

    Attributes:
        levels: (n_levels,), the ratings that occur, in order.
        thresholds: (n_levels - 1,), between the latent values of neighbouring levels.
    """

    noise_precision = 1.0  # the latent values have no unit of their own

    def __init__(
        self, train: RatingsDataset, user_features: Float32Array, item_features: Float32Array, k: int, seed: int
    ) -> None:
        super().__init__(train, user_features, item_features, k, seed)
        self.levels, self._level = np.unique(train.ratings, return_inverse=True)
        shares = np.cumsum(np.bincount(self._level))[:-1] / len(self._level)
        self._first_thresholds = torch.special.ndtri(torch.from_numpy(shares)).numpy()
        self.thresholds: Float64Array = self._first_thresholds
        self.mean = 0.0
        self._ratings = np.zeros(train.n_ratings, np.float32)

    def sweep(self) -> None:
        """Draw the thresholds, the latent values, every vector and every noise factor once, given all others."""
        means = (self._ratings - self._errors()).astype(np.float64)
        deviations = self.precision_by_rating().astype(np.float64) ** -0.5
        self._draw_thresholds(means, deviations)
        low, high = self._probabilities(means, deviations)
        drawn = low + (high - low) * self._random.random(len(low))
        drawn = np.clip(drawn, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
        self._ratings = (means + deviations * torch.special.ndtri(torch.from_numpy(drawn)).numpy()).astype(np.float32)
        super().sweep()

    def predictions(self) -> Float32Array:
        """Return the expected rating of every user and item in the current sample, (n_users, n_items)."""
        latent = torch.from_numpy(super().predictions())
        roots = [torch.from_numpy(np.sqrt(side.noise)) for side in (self.users, self.items)]
        scale = roots[0][:, None] * roots[1] * self.noise_precision**0.5
        expected = torch.full_like(latent, float(self.levels[-1]))
        for threshold, step in zip(self.thresholds, np.diff(self.levels), strict=True):
            expected -= float(step) * torch.special.ndtr((float(threshold) - latent) * scale)
        return expected.numpy()

    def _bounds(self, means: Float64Array, deviations: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the thresholds around every rating, in standard deviations from its mean: (n_ratings,) each."""
        ends = np.concatenate([[-_NEARLY_INFINITE], self.thresholds, [_NEARLY_INFINITE]])
        return (ends[self._level] - means) / deviations, (ends[self._level + 1] - means) / deviations

    def _probabilities(self, means: Float64Array, deviations: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the probabilities of a latent value below the lower and the upper threshold of every rating."""
        low, high = (torch.special.ndtr(torch.from_numpy(bound)) for bound in self._bounds(means, deviations))
        return low.numpy(), high.numpy()

    def _draw_thresholds(self, means: Float64Array, deviations: Float64Array) -> None:
        """Take a step of Fisher scoring on the likelihood of the ratings, and draw around it.

        A step or a draw that would put the thresholds out of order is shortened.
        """
        score, information = self._score(means, deviations)
        information[np.diag_indices_from(information)] += _THRESHOLD_PRECISION
        score -= _THRESHOLD_PRECISION * (self.thresholds - self._first_thresholds)
        noise = self._random.standard_normal(len(score))
        self._move(np.linalg.solve(information, score))
        self._move(np.linalg.solve(np.linalg.cholesky(information).T, noise))

    def _score(self, means: Float64Array, deviations: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the gradient (n,) and the outer products of the gradients (n, n) of the log-likelihood."""
        n_levels = len(self.levels)
        low, high = self._probabilities(means, deviations)
        weight = deviations * np.maximum(high - low, _SMALLEST_PROBABILITY) * (2 * np.pi) ** 0.5
        at_low, at_high = (np.exp(-np.square(bound) / 2) / weight for bound in self._bounds(means, deviations))
        level, above = self._level, self._level + 1
        score = (np.bincount(above, at_high, n_levels + 1) - np.bincount(level, at_low, n_levels + 1)).astype(
            np.float64
        )
        diagonal = np.bincount(above, at_high**2, n_levels + 1) + np.bincount(level, at_low**2, n_levels + 1)
        beside = -np.bincount(level, at_low * at_high, n_levels)
        information: Float64Array = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        return score[1:-1], information[1:-1, 1:-1]

    def _move(self, step: npt.NDArray[np.floating[Any]]) -> None:
        """Add a step (n,) to the thresholds, or the largest of its halves, quarters… that keeps them in order."""
        for _ in range(20):
            moved = self.thresholds + step
            if (np.diff(moved) > _MIN_STEP).all():
                self.thresholds = moved
                return
            step = step / 2
