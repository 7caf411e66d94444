"""Sample a Bayesian matrix factorisation of ordered ratings.

The model of bayesian_mf.py explains a latent value. The rating is the level between whose thresholds the value falls:
the step from 1 to 2 stars need not be as large as that from 4 to 5, and no rating is beyond the ends of the scale.
Every sweep draws the thresholds and the latent values, and then all vectors given the latent values.

Sources: J. Albert and S. Chib, Bayesian analysis of binary and polychotomous response data, 1993 (the latent values),
and Sequential ordinal modeling with applications to survival data, 2001 (thresholds drawn without the latent values);
E. Berndt, B. Hall, R. Hall and J. Hausman, Estimation and inference in nonlinear structural models, 1974 (the
information of the thresholds). The thresholds are drawn from the normal approximation of their posterior, which is
narrow: all ratings determine them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cofactor_trainer.architectures.bayesian_mf import GibbsSampler
from cofactor_trainer.data.dataset import Float32Array, Float64Array, Int64Array, RatingsDataset

# More levels than this are numbers rather than grades.
MAX_LEVELS = 20
# On fewer ratings than this the sampler is less accurate than that of normal errors: docs/decisions/0003-recipes.md.
MIN_RATINGS = 10_000
# Smallest distance of two thresholds, and precision of their normal prior around the first ones.
_MIN_STEP, _THRESHOLD_PRECISION = 1e-5, 1.0
_MAX_HALVINGS = 20
_NEARLY_INFINITE = 1e9
_SMALLEST_PROBABILITY = 1e-12


def has_levels(ratings: Float32Array) -> bool:
    """Return True if the ratings (n,) are enough ratings at few enough levels to be ordered outcomes."""
    return len(ratings) >= MIN_RATINGS and 2 <= len(np.unique(ratings)) <= MAX_LEVELS


class OrdinalSampler(GibbsSampler):
    """Draws samples of the model from its posterior; the same seed draws the same samples.

    Attributes:
        levels: (n_levels,), the ratings that occur, in order.
        thresholds: (n_levels - 1,), between the latent values of neighbouring levels.
        train_error: mean squared error on the latent values, in the current sample.
    """

    noise_precision = 1.0  # the latent values have no unit of their own

    def __init__(
        self, train: RatingsDataset, user_features: Float32Array, item_features: Float32Array, k: int, seed: int
    ) -> None:
        super().__init__(train, user_features, item_features, k, seed)
        self.levels, self._level = np.unique(train.ratings, return_inverse=True)
        self._first_thresholds = _separated_quantiles(self._level)
        self.thresholds: Float64Array = self._first_thresholds
        self.mean, self.unit = 0.0, 1.0
        self._ratings = np.zeros(train.n_ratings, np.float32)

    def sweep(self) -> None:
        """Draw the thresholds, the latent values, every vector and every noise factor once, given all others."""
        means = (self._ratings - self._errors()).astype(np.float64)
        deviations = self.precision_by_rating().astype(np.float64) ** -0.5
        self._draw_thresholds(means, deviations)
        self._ratings = self._draw_latent_values(means, deviations)
        super().sweep()

    def predictions(self) -> Float32Array:
        """Return the expected rating of every user and item in the current sample, (n_users, n_items)."""
        latent = torch.from_numpy(self._products())
        roots = [torch.from_numpy(np.sqrt(side.noise)) for side in (self.users, self.items)]
        scale = roots[0][:, None] * roots[1] * self.noise_precision**0.5
        expected = torch.full_like(latent, float(self.levels[-1]))
        for threshold, step in zip(self.thresholds, np.diff(self.levels), strict=True):
            expected -= float(step) * torch.special.ndtr((float(threshold) - latent) * scale)
        ratings: Float32Array = expected.numpy()
        return ratings

    def _draw_latent_values(self, means: Float64Array, deviations: Float64Array) -> Float32Array:
        """Draw from normals that are cut off at the thresholds of every rating, by inverting their distribution."""
        lower, upper = self._bounds(means, deviations)
        below = _normal_cdf(lower)
        drawn = below + (_normal_cdf(upper) - below) * self._random.random(len(below))
        drawn = np.clip(drawn, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
        # Seven deviations from the mean the inverse is no longer exact, but the value stays between its thresholds.
        standard = np.clip(torch.special.ndtri(torch.from_numpy(drawn)).numpy(), lower, upper)
        latent: Float32Array = (means + deviations * standard).astype(np.float32)
        return latent

    def _bounds(self, means: Float64Array, deviations: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the thresholds around every rating, in standard deviations from its mean: (n_ratings,) each."""
        ends = np.concatenate([[-_NEARLY_INFINITE], self.thresholds, [_NEARLY_INFINITE]])
        return (ends[self._level] - means) / deviations, (ends[self._level + 1] - means) / deviations

    def _draw_thresholds(self, means: Float64Array, deviations: Float64Array) -> None:
        """Take a Newton step towards the most likely thresholds, and draw around it.

        A step or a draw that would put the thresholds out of order is shortened.
        """
        score, information = self._score(means, deviations)
        information[np.diag_indices_from(information)] += _THRESHOLD_PRECISION
        score -= _THRESHOLD_PRECISION * (self.thresholds - self._first_thresholds)
        noise = self._random.standard_normal(len(score))
        self._move(np.linalg.solve(information, score))
        self._move(np.linalg.solve(np.linalg.cholesky(information).T, noise))

    def _score(self, means: Float64Array, deviations: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the gradient (n,) of the log-likelihood, and the sum of the outer products of its terms, (n, n)."""
        n_ends = len(self.levels) + 1
        lower, upper = self._bounds(means, deviations)
        probabilities = np.maximum(_normal_cdf(upper) - _normal_cdf(lower), _SMALLEST_PROBABILITY)
        weights = deviations * probabilities * (2 * np.pi) ** 0.5
        at_lower, at_upper = (np.exp(-np.square(bound) / 2) / weights for bound in (lower, upper))
        level, above = self._level, self._level + 1
        score = np.bincount(above, at_upper, n_ends) - np.bincount(level, at_lower, n_ends)
        diagonal = np.bincount(above, at_upper**2, n_ends) + np.bincount(level, at_lower**2, n_ends)
        beside = -np.bincount(level, at_lower * at_upper, n_ends - 1)
        information = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        return score[1:-1].astype(np.float64), information[1:-1, 1:-1].astype(np.float64)

    def _move(self, step: npt.NDArray[np.floating[Any]]) -> None:
        """Add a step (n,) to the thresholds, or the largest of its halves, quarters… that keeps them in order."""
        for _ in range(_MAX_HALVINGS):
            moved = self.thresholds + step
            if (np.diff(moved) >= _MIN_STEP).all():
                self.thresholds = moved
                return
            step = step / 2


def _separated_quantiles(level: Int64Array) -> Float64Array:
    """Return the normal quantiles between levels (n_ratings,), at least two smallest steps apart."""
    shares = np.cumsum(np.bincount(level))[:-1] / len(level)
    quantiles = torch.special.ndtri(torch.from_numpy(shares)).numpy()
    steps = 2 * _MIN_STEP * np.arange(len(quantiles))
    separated: Float64Array = np.maximum.accumulate(quantiles - steps) + steps
    return separated


def _normal_cdf(values: Float64Array) -> Float64Array:
    """Return the probability of a standard normal value below each of the values (n,)."""
    probabilities: Float64Array = torch.special.ndtr(torch.from_numpy(values)).numpy()
    return probabilities
