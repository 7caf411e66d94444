"""A model of a small table is mixed with biases alone, as far as unseen ratings say."""

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.data.splits import random_split
from cofactor_trainer.evaluation.baselines import fit_biases
from cofactor_trainer.evaluation.evaluate import evaluate_ratings
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits, predict_ratings
from cofactor_trainer.training.shrinkage import fit_logit_biases, mix, shrink_to_biases
from tests.support.synthetic import make_dataset, make_model

RANGE = (0.5, 5.5)
N_USERS, N_ITEMS = 40, 50


@pytest.fixture(scope="module")
def table():
    """Return all ratings of 40 users for 50 items, and the model that they are from: biases and one strong factor."""
    random = np.random.default_rng(0)
    user_rows, item_rows = (rows.ravel().astype(np.int32) for rows in np.mgrid[:N_USERS, :N_ITEMS])
    truth = replace(
        fit_logit_biases(make_dataset(N_USERS, N_ITEMS), RANGE),
        user_factors=random.normal(size=(N_USERS + 1, 1)).astype(np.float32),
        item_factors=random.normal(size=(N_ITEMS + 1, 1)).astype(np.float32),
        user_bias=random.normal(0, 0.5, N_USERS + 1).astype(np.float32),
        item_bias=random.normal(0, 0.5, N_ITEMS + 1).astype(np.float32),
    )
    ratings = replace(
        make_dataset(N_USERS, N_ITEMS),
        user_rows=user_rows,
        item_rows=item_rows,
        ratings=np.zeros(len(user_rows), np.float32),
        timestamps=None,
    )
    return replace(ratings, ratings=predict_ratings(truth, ratings)), truth


def test_a_model_that_predicts_unseen_ratings_stays_as_it_is(table):
    ratings, truth = table
    assert shrink_to_biases(truth, ratings, lambda part: truth, seed=1) is truth


def test_a_model_of_noise_becomes_biases_alone(table, caplog):
    ratings, truth = table
    random = np.random.default_rng(1)
    noise = replace(truth, user_factors=(8 * random.normal(size=truth.user_factors.shape)).astype(np.float32))
    shrunk = shrink_to_biases(noise, ratings, lambda part: noise, seed=1)
    np.testing.assert_array_equal(shrunk.user_factors, 0)
    biases = fit_logit_biases(ratings, RANGE)
    np.testing.assert_array_equal(shrunk.item_bias, biases.item_bias)
    assert "2,000 ratings are too few" in caplog.text


def test_the_folds_never_show_a_rating_to_the_model_that_predicts_it(table):
    ratings, truth = table
    sizes = []

    def train(part):
        sizes.append(part.n_ratings)
        return truth

    shrink_to_biases(truth, ratings, train, seed=1)
    assert sizes == [1_600] * 5


@pytest.mark.parametrize("architecture", ["dot-product", "neural-network", "hybrid"])
def test_the_logit_of_a_mix_is_the_mean_of_the_logits(architecture):
    dataset = make_dataset()
    model = make_model(architecture)
    biases = fit_logit_biases(dataset, model.rating_range)
    users = np.arange(dataset.n_users)
    expected = 0.3 * predict_all_logits(model, users) + 0.7 * predict_all_logits(biases, users)
    np.testing.assert_allclose(predict_all_logits(mix(model, biases, 0.3), users), expected, atol=1e-5)


def test_biases_through_the_sigmoid_are_as_good_as_linear_ones(table):
    ratings, _ = table
    split = random_split(ratings)
    linear, logit = fit_biases(split.train), fit_logit_biases(split.train, RANGE)
    assert evaluate_ratings(logit, split).mse < 1.01 * evaluate_ratings(linear, split).mse


@pytest.mark.parametrize("architecture", ["dot-product", "neural-network", "hybrid"])
def test_biases_alone_export_in_every_architecture(architecture, tmp_path):
    dataset, model = make_dataset(), make_model(architecture)
    alone = mix(model, fit_logit_biases(dataset, model.rating_range), 0.0)
    assert export_version(alone, dataset, tmp_path, "small", "1", metrics={}, hyperparameters={}).is_dir()
