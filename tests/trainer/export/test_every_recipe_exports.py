"""Every recipe exports, on a tiny table and on real ratings.

FAULTS=full exports every recipe with seeds 1 to 3, trained in full; only the samplers of `best` make fewer sweeps. It
needs COFACTOR_ML100K for MovieLens 100k, and hours.
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data import movielens
from cofactor_trainer.data.duplicates import without_duplicates
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.training.blend import BURN_IN
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset

ML100K = Path(os.environ.get("COFACTOR_ML100K", ""))
IS_FULL = os.environ.get("FAULTS") == "full"
# Training and exporting take seconds, so only some cases are run each time, after few epochs.
SHORT = [("p1", "tiny", 1), ("hybrid", "tiny", 1), ("ranking", "few ratings", 1)]
EVERY_SEED = ("MovieLens 100k", "tiny", "ml-latest-small")
FULL = [(name, dataset, seed) for dataset in EVERY_SEED for seed in (1, 2, 3) for name in RECIPES]
FULL += [(name, dataset, 1) for dataset in ("few ratings", "wide scale") for name in RECIPES]


@cache
def load(name):
    if name == "tiny":
        return make_dataset(n_users=9, n_items=15, ratings_per_user=5)
    if name == "MovieLens 100k":
        if not (ML100K / "u.data").is_file():
            pytest.skip("COFACTOR_ML100K names no folder of MovieLens 100k (see CONTRIBUTING.md)")
        return without_duplicates(movielens.load_100k(ML100K))
    small = without_duplicates(movielens.load_embedded_small())
    if name == "ml-latest-small":
        return small
    few = small.select_ratings(np.arange(5000))
    if name == "few ratings":
        return few
    return replace(few, ratings=(few.ratings - 0.5) * 222 + 1, rating_min=1, rating_max=1000)


def adapted(recipe):
    """Return the recipe with fewer sweeps or, in the short form, few epochs and small batches."""
    if not IS_FULL:
        recipe = replace(recipe, epochs=2, batch_size=min(recipe.batch_size, 64))
        recipe = replace(recipe, ranking=tuple(replace(member, epochs=2) for member in recipe.ranking))
    return replace(recipe, epochs=BURN_IN + 5) if recipe.model == "blend" else recipe


@pytest.mark.timeout(3600 if IS_FULL else 300)
@pytest.mark.parametrize(("name", "dataset", "seed"), FULL if IS_FULL else SHORT)
def test_the_recipe_exports(name, dataset, seed, tmp_path):
    ratings, recipe = load(dataset), adapted(RECIPES[name])
    result = train(ratings, None, recipe, allow_misfit_range=True, seed=seed)
    model = add_ranking_part(result.model, ratings, recipe, seed=seed)
    export_version(model, ratings, tmp_path, "m", "1", metrics={}, hyperparameters={}, history=result.history)
