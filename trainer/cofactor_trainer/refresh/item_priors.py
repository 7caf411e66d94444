"""Estimate priors over the rows of items, for items that a version does not know and for those that move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import Float64Array, RatingsDataset
from cofactor_trainer.graphs.prior_estimation import INITIAL_NOISE
from cofactor_trainer.graphs.user_prior import regularise
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel

# More ratings do not visibly change the variance of their errors.
_SAMPLED_RATINGS = 100_000


@dataclass(frozen=True)
class RowPrior:
    """A Gaussian prior over rows: mean (d + 1,) and precision (d + 1, d + 1)."""

    mean: Float64Array
    precision: Float64Array


def prior_of_items(rows: Float64Array, noise: float = 1.0) -> RowPrior:
    """Return a prior with the covariance of known items around the unknown item.

    rows (n_items + 1, d + 1) of the version, the unknown item last; noise is the variance of a rating's error, in whose
    units the precision is.
    """
    covariance = regularise(np.atleast_2d(np.cov(rows[:-1], rowvar=False, bias=True)))
    return RowPrior(rows[-1].copy(), (np.linalg.inv(covariance) * noise).astype(np.float64))


def error_variance(model: TrainedModel, dataset: RatingsDataset) -> float:
    """Return the mean squared error of a model on a sample of ratings of users and items that it knows."""
    sample = np.random.default_rng(0).permutation(dataset.n_ratings)[:_SAMPLED_RATINGS]
    if not len(sample):
        return INITIAL_NOISE * (dataset.rating_max - dataset.rating_min) ** 2
    ratings = dataset.select_ratings(np.sort(sample))
    errors = predict_ratings(model, ratings).astype(np.float64) - ratings.ratings
    return float(np.square(errors).mean()) or 1.0
