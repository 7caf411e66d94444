"""Measures of predictions."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.dataset import Float32Array


def mean_squared_error(predicted: Float32Array, ratings: Float32Array) -> float:
    """Mean squared error of predicted (n,) for ratings (n,)."""
    return float(np.mean(np.square(predicted.astype(np.float64) - ratings)))


def mean_absolute_error(predicted: Float32Array, ratings: Float32Array) -> float:
    """Mean absolute error of predicted (n,) for ratings (n,)."""
    return float(np.mean(np.abs(predicted.astype(np.float64) - ratings)))
