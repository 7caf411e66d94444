"""Without a sigmoid the posterior is a Gaussian, so one step from its mode must lead exactly to the next mode."""

import numpy as np
import pytest

from cofactor_trainer.refresh.pair_table import PairTable
from cofactor_trainer.refresh.rating_rows import RatingSide

N_ROWS, N_OTHERS, D = 5, 30, 4


@pytest.fixture
def random():
    return np.random.default_rng(8)


def table(pairs):
    own, other, values = (np.array(column) for column in zip(*pairs, strict=True))
    return PairTable(own, other, values.astype(float), N_ROWS + 1)


EMPTY = PairTable(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), N_ROWS + 1)


def side(random, ratings, gained=EMPTY, lost=EMPTY, rating_range=None):
    others = np.random.default_rng(1).normal(0, 1, (N_OTHERS + 1, D + 1))
    precision = np.diag(np.arange(1.0, D + 2))
    return RatingSide(others, ratings, gained, lost, np.full(D + 1, 0.2), precision, 3.0, rating_range)


def make_pairs(random, n_per_row=8):
    return [
        (row, int(other), float(random.normal(3, 1)))
        for row in range(N_ROWS)
        for other in random.choice(N_OTHERS - 5, n_per_row, replace=False)
    ]


def test_a_step_leads_to_the_fit_of_all_ratings_and_leaves_other_rows_as_they_are(random):
    old = make_pairs(random)
    gained, lost, changed = (2, N_OTHERS - 1, 5.0), old[17], old[20]
    assert lost[0] == changed[0] == 2
    mended = (*changed[:2], changed[2] + 2)
    new = [pair for pair in old if pair not in (lost, changed)] + [gained, mended]
    rows, expected = np.zeros((2, N_ROWS + 1, D + 1))
    side(random, table(old)).fit(rows, np.arange(N_ROWS))
    side(random, table(new)).fit(expected, np.arange(N_ROWS))
    before = rows.copy()
    side(random, table(new), table([gained, mended]), table([lost, changed])).move(rows, np.array([2]))
    np.testing.assert_allclose(rows[2], expected[2], atol=1e-10)
    assert np.abs(before[2] - rows[2]).max() > 0.05
    others = [0, 1, 3, 4, 5]
    assert np.array_equal(rows[others], before[others])


def test_through_a_sigmoid_a_step_comes_near_the_fit_of_all_ratings(random):
    ends = (0.5, 5.5)
    old = [(row, other, float(np.clip(value, 1, 5))) for row, other, value in make_pairs(random, 20)]
    gained = (0, N_OTHERS - 1, 5.0)
    rows, expected = np.zeros((2, N_ROWS + 1, D + 1))
    side(random, table(old), rating_range=ends).fit(rows, np.arange(N_ROWS))
    side(random, table([*old, gained]), rating_range=ends).fit(expected, np.arange(N_ROWS))
    before = rows[0].copy()
    side(random, table([*old, gained]), table([gained]), rating_range=ends).move(rows, np.array([0]))
    assert np.linalg.norm(rows[0] - expected[0]) < 0.5 * np.linalg.norm(before - expected[0])


def test_a_new_row_without_ratings_is_the_mean_of_the_prior(random):
    rows = np.zeros((N_ROWS + 1, D + 1))
    side(random, EMPTY).fit(rows, np.array([1]))
    np.testing.assert_allclose(rows[1], 0.2)
