"""Every family of recipes exports, on a tiny table and on real ratings."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data import movielens
from cofactor_trainer.data.duplicates import without_duplicates
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.graphs.prior_estimation import estimate_ranking_prior
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset

FAMILIES = ("p1", "p5", "p12", "dot-bias", "neural-net", "hybrid", "ranking", "best")
# An export traces five graphs, which takes seconds; the whole table of cases is run with FAULTS=full.
SHORT = [("p1", "tiny"), ("hybrid", "tiny"), ("ranking", "ml-latest-small")]
FULL = [(name, dataset) for name in FAMILIES for dataset in ("tiny", "ml-latest-small", "wide scale")]


@pytest.fixture(scope="module")
def datasets():
    tiny = make_dataset(n_users=9, n_items=15, ratings_per_user=5)
    small = without_duplicates(movielens.load_embedded_small())
    few = small.select_ratings(np.arange(5000))
    wide = replace(few, ratings=(few.ratings - 0.5) * 222 + 1, rating_min=1, rating_max=1000)
    return {"tiny": tiny, "ml-latest-small": few, "wide scale": wide}


def trained(name, dataset):
    recipe = RECIPES[name]
    recipe = replace(recipe, epochs=21 if recipe.model == "blend" else 2, batch_size=min(recipe.batch_size, 64))
    torch.manual_seed(0)
    return train(dataset, None, recipe, allow_misfit_range=True)


@pytest.mark.parametrize(("name", "dataset"), FULL if os.environ.get("FAULTS") == "full" else SHORT)
def test_the_recipe_exports(name, dataset, datasets, tmp_path):
    result = trained(name, datasets[dataset])
    path = export_version(
        result.model, datasets[dataset], tmp_path, "m", "1", metrics={}, hyperparameters={}, history=result.history
    )
    if name == "ranking" and dataset == "ml-latest-small":
        assert_folds_in_exactly(path, result.model, datasets[dataset])


def assert_folds_in_exactly(path, model, dataset):
    """Compare graph embed_user for a user of 500 ratings with the Newton step, solved in float64."""
    prior = estimate_ranking_prior(model, dataset)
    rows = np.random.default_rng(0).choice(dataset.n_items, 500, replace=False)
    found = read_version(path).run("embed_user", item_rows=rows[None], ratings=np.ones((1, 500), np.float32))
    jacobian = np.column_stack([model.item_factors[:-1], np.ones(dataset.n_items)]).astype(np.float64)
    logits = jacobian @ prior.mean + model.item_bias[:-1]
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    centred = jacobian - weights @ jacobian
    normal = 500 * centred.T @ (weights[:, None] * centred) + np.linalg.inv(prior.covariance)
    expected = prior.mean + np.linalg.solve(normal, centred[rows].sum(0))
    row = np.append(found["user_factors"][0], found["user_bias"][0])
    assert np.abs(row - expected).max() < 1e-6 * np.abs(expected).max()
