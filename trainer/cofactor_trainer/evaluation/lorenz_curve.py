"""Compute how concentrated a total is: ratings, errors or recommendations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LorenzCurve:
    """Concentration of a total (M. Lorenz, Methods of measuring the concentration of wealth, 1905).

    Attributes:
        population: share of the users or items, the most active first, from 0 to 1.
        held: share of the total that they hold, from 0 to 1.
    """

    population: Float64Array
    held: Float64Array

    def held_by(self, share: float) -> float:
        """Return the share of the total that the most active ``share`` of the population holds."""
        return float(np.interp(share, self.population, self.held))

    def thinned(self, n_points: int) -> LorenzCurve:
        """Return the curve at so many points."""
        population = np.linspace(0, 1, n_points)
        return LorenzCurve(population, np.interp(population, self.population, self.held))


def lorenz_curve(activity: Int64Array, amounts: Int64Array | Float64Array) -> LorenzCurve:
    """Compute how concentrated amounts (n,) are in a population ordered by activity (n,), the most active first."""
    held = np.concatenate([[0.0], np.cumsum(np.asarray(amounts, np.float64)[np.argsort(-activity, kind="stable")])])
    return LorenzCurve(np.linspace(0, 1, len(held)), held / (held[-1] or 1.0))


def squared_error_curve(ratings_per_user: Int64Array, predicted: Float32Array, held_out: RatingsDataset) -> LorenzCurve:
    """Compute how concentrated the squared errors (n,) of held-out ratings are in the known users (n_users,)."""
    squared = (predicted.astype(np.float64) - held_out.ratings) ** 2
    by_user = np.bincount(held_out.user_rows, squared, len(ratings_per_user) + 1)[: len(ratings_per_user)]
    return lorenz_curve(ratings_per_user, by_user)
