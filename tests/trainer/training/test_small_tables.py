"""Small tables: the recipes learn at least as much as biases alone, and large tables train as before."""

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.architectures.recipes import RECIPES, find_recipe
from cofactor_trainer.commands.small_tables import warn_of_large_table, warn_of_small_table
from cofactor_trainer.data.movielens import load_embedded_small
from cofactor_trainer.data.splits import random_split, split_by_mask
from cofactor_trainer.evaluation.baselines import fit_biases
from cofactor_trainer.evaluation.evaluate import evaluate_ratings
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset

N_SUBSETS = 3
# The mean of three subsets varies by about this much with the seed of the training.
NOISE = 0.015


@pytest.fixture(scope="module")
def films():
    return load_embedded_small()


def whole_users(dataset, n_ratings, seed):
    """Return all ratings of random users, until there are at least n_ratings."""
    order = np.random.default_rng(seed).permutation(dataset.n_users)
    counts = np.bincount(dataset.user_rows, minlength=dataset.n_users)[order]
    chosen = order[: np.searchsorted(np.cumsum(counts), n_ratings) + 1]
    return split_by_mask(dataset, ~np.isin(dataset.user_rows, chosen)).train


@pytest.mark.parametrize(
    ("name", "n_ratings"),
    [("dot-bias", 500), ("dot-bias", 2_500), ("fast", 500), ("fast", 2_500), ("hybrid", 500), ("neural-net", 500)],
)
def test_a_small_table_is_predicted_at_least_as_well_as_by_biases_alone(films, name, n_ratings):
    errors, of_biases = [], []
    for seed in range(N_SUBSETS):
        split = random_split(whole_users(films, n_ratings, seed))
        errors.append(evaluate_ratings(train(split.train, None, find_recipe(name)).model, split).mse)
        of_biases.append(evaluate_ratings(fit_biases(split.train), split).mse)
    assert np.mean(errors) <= np.mean(of_biases) + NOISE


@pytest.mark.parametrize("name", list(RECIPES))
def test_tables_of_50_000_ratings_and_more_train_with_the_recipe_as_it_is(name):
    recipe = find_recipe(name)
    assert recipe.adapted_to(50_000) is recipe
    unlimited = replace(recipe, min_steps_per_epoch=None)
    assert [recipe.batch_size_for(n) for n in (51_200, 80_000, 10**7)] == [
        unlimited.batch_size_for(n) for n in (51_200, 80_000, 10**7)
    ]


@pytest.mark.parametrize("name", [f"p{number}" for number in range(1, 13)])
def test_published_recipes_do_not_adapt(name):
    recipe = find_recipe(name)
    assert recipe.adapted_to(100) is recipe
    assert recipe.batch_size_for(100) == recipe.batch_size


def test_the_smaller_the_table_the_more_the_factors_decay_and_the_smaller_the_batches():
    recipe = find_recipe("dot-bias")
    sizes = (60_000, 40_000, 20_000, 10_000, 5_000, 2_000, 500)
    decays = [recipe.adapted_to(n).weight_decay for n in sizes]
    assert decays[0] == 2.25
    assert decays == sorted(decays)
    assert decays[4] == pytest.approx(10, rel=0.01)
    assert decays[-1] == decays[-2] == pytest.approx(18.2, rel=0.01)
    assert [recipe.batch_size_for(n) for n in sizes] == [1024, 800, 400, 200, 100, 40, 16]


def test_a_batch_size_or_weight_decay_that_is_given_is_used_as_it_is():
    recipe = find_recipe("dot-bias").with_settings(batch_size=1024, weight_decay=2.25)
    assert recipe.adapted_to(500) is recipe
    assert recipe.batch_size_for(500) == 1024
    assert find_recipe("dot-bias").with_settings(epochs=3).batch_size_for(500) == 16


@pytest.mark.parametrize(
    ("name", "n_users", "n_items", "warning"),
    [
        ("dot-bias", 40, 30, "480 training ratings by 40 users of 30 items are few to learn factors from"),
        ("dot-bias", 60, 250, "720 training ratings by 60 users of 250 items are few to learn factors from"),
        ("neural-net", 60, 60, "720 training ratings are few for recipe neural-net"),
        ("dot-bias", 60, 60, None),
        ("ranking", 40, 30, None),
    ],
)
def test_a_table_too_small_for_factors_is_said(name, n_users, n_items, warning, caplog):
    dataset = make_dataset(n_users + 1, n_items)
    warn_of_small_table(find_recipe(name), replace(dataset, user_ids=dataset.user_ids[:-1]))
    assert caplog.text == "" if warning is None else warning in caplog.text


def test_a_ranking_that_needs_much_memory_names_the_recipe_that_does_not(caplog):
    dataset = make_dataset(30, 20)
    many = replace(dataset, user_ids=range(1_000_000))
    for recipe in ("ranking-large", "dot-bias"):
        warn_of_large_table(find_recipe(recipe), many)
    warn_of_large_table(find_recipe("ranking"), dataset)
    assert caplog.text == ""
    warn_of_large_table(find_recipe("ranking"), many)
    assert "recipe ranking needs 3 GB of memory for the factors of 1,000,000 users and 20 items" in caplog.text
    assert "--recipe ranking-large" in caplog.text
