"""Compare two rates while the data still grow, as often as one likes.

A confidence interval that is valid at one moment is not valid for somebody who looks every day and stops when it
excludes zero. The intervals here cover the difference at all moments at once, with the stated probability: those of the
mixture sequential probability ratio test with a normal mixture (Johari, Koomen, Pekelis and Walsh, "Always valid
inference", Operations Research 70, 2022, https://arxiv.org/abs/1512.04922). They rest on the normal approximation, so
they need some data in both groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Standard deviation of the mixture: differences of about this size are found soonest. It must not depend on the data.
MIXTURE_SD = 0.02
# The normal approximation needs this many in each group.
FEWEST = 100


@dataclass(frozen=True)
class Successes:
    """A group, and the number of its members that succeeded."""

    n: int
    n_successes: int

    @property
    def rate(self) -> float:
        """Return the share that succeeded, NaN of nobody."""
        return self.n_successes / self.n if self.n else math.nan

    @property
    def variance_of_rate(self) -> float:
        """Return the variance of the rate; never 0, so that a group without successes proves nothing by itself."""
        smoothed = (self.n_successes + 0.5) / (self.n + 1)
        return smoothed * (1 - smoothed) / self.n


@dataclass(frozen=True)
class Comparison:
    """The difference of two rates, second minus first.

    Attributes:
        difference: the estimate.
        low, high: always-valid confidence interval.
        p_value: always-valid p-value of "no difference".
    """

    difference: float
    low: float
    high: float
    p_value: float


def compare_rates(first: Successes, second: Successes, alpha: float = 0.05) -> Comparison | None:
    """Compare two groups of independent members; return None if one has fewer than FEWEST.

    The interval misses the difference at any moment with a probability of at most `alpha`.
    """
    if min(first.n, second.n) < FEWEST:
        return None
    difference = second.rate - first.rate
    variance, mixture = first.variance_of_rate + second.variance_of_rate, MIXTURE_SD**2
    total = variance + mixture
    width = math.sqrt(2 * variance * total / mixture * (math.log(1 / alpha) + math.log(total / variance) / 2))
    log_ratio = mixture * difference**2 / (2 * variance * total) - math.log(total / variance) / 2
    return Comparison(difference, difference - width, difference + width, min(1.0, math.exp(-log_ratio)))
