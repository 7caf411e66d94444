"""Every family of recipes exports, on a tiny table and on real ratings."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data import movielens
from cofactor_trainer.data.duplicates import without_duplicates
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.training.ranking_part import add_ranking_part
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
    recipe = replace(recipe, ranking=tuple(replace(member, epochs=2) for member in recipe.ranking))
    result = train(dataset, None, recipe, allow_misfit_range=True)
    return replace(result, model=add_ranking_part(result.model, dataset, recipe))


@pytest.mark.parametrize(("name", "dataset"), FULL if os.environ.get("FAULTS") == "full" else SHORT)
def test_the_recipe_exports(name, dataset, datasets, tmp_path):
    result = trained(name, datasets[dataset])
    export_version(
        result.model, datasets[dataset], tmp_path, "m", "1", metrics={}, hyperparameters={}, history=result.history
    )
