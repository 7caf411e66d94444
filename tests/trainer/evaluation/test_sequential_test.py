"""The comparison of two rates holds however often one looks, and finds differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cofactor_trainer.evaluation.sequential_test import FEWEST, Successes, compare_rates

LOOKS = range(200, 20_001, 200)


def looks(rate_of_first, rate_of_second, seed, share=0.5):
    """Yield what somebody sees who looks after every 200 users."""
    chance = np.random.default_rng(seed)
    is_second = chance.random(LOOKS[-1]) < share
    success = chance.random(LOOKS[-1]) < np.where(is_second, rate_of_second, rate_of_first)
    sides = [(np.cumsum(side), np.cumsum(side & success)) for side in (~is_second, is_second)]
    for n in LOOKS:
        yield [Successes(int(members[n - 1]), int(successes[n - 1])) for members, successes in sides]


def z_test(first, second):
    """Return True if the usual test at one moment finds a difference at 5 %."""
    error = math.sqrt(first.variance_of_rate + second.variance_of_rate)
    return abs(second.rate - first.rate) > 1.96 * error


def test_who_looks_a_hundred_times_is_misled_in_at_most_5_percent_and_by_the_usual_test_in_many_more() -> None:
    misled = usual = 0
    for seed in range(200):
        seen = list(looks(0.1, 0.1, seed, share=0.2))
        compared = [comparison for groups in seen if (comparison := compare_rates(*groups)) is not None]
        misled += any(not comparison.low <= 0 <= comparison.high for comparison in compared)
        usual += any(z_test(*groups) for groups in seen if min(group.n for group in groups) >= FEWEST)
    assert misled <= 10  # of 200
    assert usual > 40


def test_a_difference_is_found_and_its_interval_covers_it() -> None:
    n_found = n_covered = 0
    for seed in range(50):
        last = compare_rates(*list(looks(0.10, 0.13, seed))[-1])
        n_found += last.low > 0
        n_covered += last.low <= 0.03 <= last.high
    assert n_found >= 45
    assert n_covered >= 48


def test_p_value_and_interval_agree() -> None:
    for seed in range(20):
        for groups in looks(0.1, 0.12, seed):
            comparison = compare_rates(*groups)
            if comparison is not None:
                assert (comparison.p_value < 0.05) == (comparison.low > 0 or comparison.high < 0)
                assert comparison.difference == pytest.approx(groups[1].rate - groups[0].rate)


def test_few_members_are_not_compared_and_no_success_proves_nothing() -> None:
    assert compare_rates(Successes(99, 0), Successes(1000, 900)) is None
    none = compare_rates(Successes(100, 0), Successes(100, 0))
    assert none.low < 0 < none.high
