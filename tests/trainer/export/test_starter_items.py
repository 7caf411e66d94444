"""The items to ask a new user about come in the order of what their ratings tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.export.starter_items import N_STARTER_ITEMS, starter_items
from cofactor_trainer.graphs.user_prior import UserPrior
from tests.support import synthetic

N_USERS = 100


def ask(factors, counts, genres=None, variances=(4.0, 1.0, 0.25)):
    """Return the starter items of a linear model with these item factors, for users with these variances."""
    factors = np.asarray(factors, np.float32)
    model = synthetic.make_model(n_items=len(factors), n_factors=factors.shape[1], rating_range=None)
    model = replace(model, item_factors=np.vstack([factors, factors.mean(0)]))
    covariance = np.diag([*variances[: factors.shape[1]], 1e-6])  # all users rate alike, whatever their taste
    prior = UserPrior(np.zeros(len(covariance)), covariance)
    return starter_items(model, prior, np.asarray(counts), N_USERS, genres or [()] * len(factors)).tolist()


def test_the_first_item_tells_about_what_users_differ_in_most():
    assert ask(np.eye(3), [50, 50, 50]) == [0, 1, 2]
    assert ask(np.eye(3), [50, 50, 50], variances=(0.25, 1.0, 4.0)) == [2, 1, 0]


def test_an_item_that_repeats_an_earlier_one_comes_later():
    first_axis_twice = [[1, 0], [1, 0], [0, 1]]
    assert ask(first_axis_twice, [90, 90, 90]) == [0, 2, 1]


def test_an_item_that_few_people_know_comes_later():
    assert ask(np.eye(2), [1, 90]) == [1, 0]


def test_an_item_of_a_new_genre_comes_before_one_that_tells_a_little_more():
    factors = [[1, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]
    counts, variances = [90, 90, 90], (4.0, 1.0, 0.9)
    assert ask(factors, counts, [("a",), ("a",), ("b",)], variances) == [0, 2, 1]
    assert ask(factors, counts, [("a",), ("b",), ("b",)], variances) == [0, 1, 2]


def test_items_without_ratings_are_never_asked_about():
    assert ask(np.eye(3), [0, 5, 0]) == [1]
    assert ask(np.eye(3), [0, 0, 0]) == []


def test_the_order_is_that_of_the_exact_information_gain():
    """Compare with the determinants of the posterior precision, computed anew for every choice."""
    random = np.random.default_rng(5)
    factors, counts = random.normal(size=(30, 3)), random.integers(1, 90, 30)
    chosen, covariance = [], np.diag([4.0, 1.0, 0.25, 1e-6])
    rows = np.column_stack([factors.astype(np.float32), np.ones(30)]) * np.sqrt(counts / N_USERS)[:, None]
    for _ in range(30):
        precision = np.linalg.inv(covariance) + rows[chosen].T @ rows[chosen]
        base = np.linalg.slogdet(precision)[1]
        gains = [np.linalg.slogdet(precision + np.outer(row, row))[1] - base for row in rows]
        chosen.append(max((item for item in range(30) if item not in chosen), key=lambda item: gains[item]))
    assert ask(factors, counts) == chosen


@pytest.mark.parametrize("rating_range", [(0.5, 5.5), None])
def test_the_list_is_short_and_has_no_item_twice(rating_range):
    model = synthetic.make_model(n_items=300, rating_range=rating_range)
    prior = UserPrior(np.zeros(9), np.eye(9))
    found = starter_items(model, prior, np.arange(300), N_USERS, [("a",), ()] * 150)
    assert len(found) == len(set(found.tolist())) == N_STARTER_ITEMS
