"""Split a vector into multiples of given directions."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float64Array: TypeAlias = npt.NDArray[np.float64]

# Strength of the ridge, relative to the mean squared length of the directions along a coordinate. Smaller values fit
# the vector closer, but with large multiples of opposite signs.
RIDGE = 0.01


def split_vector(vector: Float64Array, directions: Float64Array) -> Float64Array:
    """Return small multiples of the directions whose sum is near a vector: (d,), (n, d) -> (n,).

    This is ridge regression. What no combination of the directions reaches is left out.
    """
    if len(directions) == 0:
        return np.zeros(0)
    gram = directions.T @ directions
    ridge = RIDGE * np.trace(gram) / len(gram)
    if ridge == 0:
        return np.zeros(len(directions))
    multiples: Float64Array = directions @ np.linalg.solve(gram + ridge * np.eye(len(gram)), vector)
    return multiples
