"""A model is worse or better if the interval of its paired differences says so."""

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.data.splits import random_split
from cofactor_trainer.refresh.judging import compare_models, is_better, is_worse
from cofactor_trainer.scoring.trained_model import select_rows
from tests.trainer.refresh.growing_films import exact_model_and_ratings


@pytest.fixture(scope="module")
def split():
    return random_split(exact_model_and_ratings()[1], 0.3)


@pytest.fixture(scope="module")
def exact(split):
    """The model that made the ratings, in the rows of the train part."""
    model, dataset = exact_model_and_ratings()
    users = [dataset.user_ids.index(user_id) for user_id in split.train.user_ids]
    items = [dataset.catalogue.item_ids.index(item_id) for item_id in split.train.catalogue.item_ids]
    return select_rows(model, np.array([*users, -1]), np.array([*items, -1]))


def noisy(model, size):
    noise = np.random.default_rng(1).normal(0, size, model.user_bias.shape).astype(np.float32)
    return replace(model, user_bias=model.user_bias + noise)


def test_a_model_with_errors_is_worse_and_the_other_way_round_better(split, exact):
    worse = compare_models(exact, noisy(exact, 1), split)
    assert [one.measure for one in worse] == ["mse", "ndcg@10"]
    assert (is_worse(worse), is_better(worse)) == (True, False)
    low, high = worse[0].interval
    assert 0 < low < worse[0].new - worse[0].running < high
    better = compare_models(noisy(exact, 1), exact, split)
    assert (is_worse(better), is_better(better)) == (False, True)
    assert "better" in better[0].describe()


def test_two_models_with_errors_of_one_size_are_neither(split, exact):
    first = noisy(exact, 0.5)
    second = replace(exact, user_bias=2 * exact.user_bias - first.user_bias)
    comparisons = compare_models(first, second, split)
    assert (is_worse(comparisons[:1]), is_better(comparisons[:1])) == (False, False)
    low, high = comparisons[0].interval
    assert low < comparisons[0].new - comparisons[0].running < high


def test_the_interval_is_that_of_the_users_and_not_of_their_ratings(split, exact):
    """All ratings of one user err together: an interval over ratings would be too narrow."""
    shifted = replace(exact, user_bias=exact.user_bias.copy())
    shifted.user_bias[split.validation.user_rows[0]] += 3
    comparison = compare_models(exact, shifted, split)[0]
    assert comparison.new > 0.01
    assert comparison.interval[0] == pytest.approx(0, abs=1e-6)
    assert not comparison.is_worse
