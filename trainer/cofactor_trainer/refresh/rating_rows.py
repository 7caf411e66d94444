"""Move the rows of a rating model by what its ratings have gained and lost.

A trained row is close to the maximum of a posterior: a Gaussian prior over rows times the likelihood of the ratings. In
such a maximum the gradient is 0, so after a change only the changed ratings have a gradient, and one Gauss-Newton step
with the curvature of all ratings leads to the new maximum. This is recursive least squares through the sigmoid of the
ratings. Rows without changes stay as they are, bit for bit. A new row starts from the prior and takes several steps.

The formula has two sides: with the items fixed it moves users, with the users fixed it moves items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import Float64Array, Int64Array
from cofactor_trainer.refresh.pair_table import PairTable

_STEPS_OF_A_NEW_ROW = 4


@dataclass(frozen=True)
class RatingSide:
    """The rows of one side of a rating model, and what it takes to move them.

    Attributes:
        others: (n_others + 1, d + 1) rows of the other side; a row is the factors followed by the bias.
        ratings: ratings by row of this side.
        gained: ratings that were added, by row of this side.
        lost: ratings that were removed, with their former values; a changed rating is lost and gained.
        mean: (d + 1,) of the prior over rows of this side.
        precision: (d + 1, d + 1) of the prior, in units of the variance of a rating's error.
        global_bias: constant term of the logit.
        rating_range: ends of the sigmoid, or None.
    """

    others: Float64Array
    ratings: PairTable
    gained: PairTable
    lost: PairTable
    mean: Float64Array
    precision: Float64Array
    global_bias: float
    rating_range: tuple[float, float] | None

    def move(self, rows: Float64Array, moved: Int64Array) -> None:
        """Move some rows by one step, in place: rows (n + 1, d + 1), moved (m,) row numbers."""
        for row in moved:
            gradient = np.zeros(len(self.mean))
            for pairs, sign in ((self.gained, 1.0), (self.lost, -1.0)):
                slopes, errors = self._linearise(rows[row], *pairs.of(row))
                gradient += sign * (slopes.T @ errors)
            slopes, _ = self._linearise(rows[row], *self.ratings.of(row))
            rows[row] += np.linalg.solve(self.precision + slopes.T @ slopes, gradient)

    def fit(self, rows: Float64Array, fitted: Int64Array) -> None:
        """Fit new rows to their ratings, in place: rows (n + 1, d + 1), fitted (m,) row numbers."""
        for row in fitted:
            values = self.mean.copy()
            for _ in range(_STEPS_OF_A_NEW_ROW):
                slopes, errors = self._linearise(values, *self.ratings.of(row))
                gradient = slopes.T @ errors - self.precision @ (values - self.mean)
                values += np.linalg.solve(self.precision + slopes.T @ slopes, gradient)
            rows[row] = values

    def _linearise(
        self, row: Float64Array, other_rows: Int64Array, ratings: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the derivatives of the predicted ratings (m, d + 1), and the errors (m,)."""
        others = self.others[other_rows]
        logits = others[:, :-1] @ row[:-1] + row[-1] + others[:, -1] + self.global_bias
        slopes = np.column_stack([others[:, :-1], np.ones(len(others))])
        if self.rating_range is None:
            return slopes, ratings - logits
        low, high = self.rating_range
        predicted = low + (high - low) * (0.5 + 0.5 * np.tanh(logits / 2))
        slopes *= ((predicted - low) * (high - predicted) / (high - low))[:, None]
        return slopes, ratings - predicted
