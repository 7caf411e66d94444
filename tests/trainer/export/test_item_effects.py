"""The effect of an item says how much users like it, for every architecture."""

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.export.item_effects import item_effects
from cofactor_trainer.training.train import train
from tests.support import synthetic
from tests.support.expected import ARCHITECTURES, COUNTS, item_effects_of


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_an_effect_is_the_mean_logit_of_the_users_shrunk_by_the_count(name):
    effects = item_effects(synthetic.make_model(ARCHITECTURES[name]), COUNTS)
    np.testing.assert_allclose(effects, item_effects_of(name), atol=1e-5)
    assert abs(np.corrcoef(effects, COUNTS)[0, 1]) < 0.5


def test_an_item_with_one_rating_is_not_the_best():
    """Items 1 and 2 are liked equally by the model, but one rating says little."""
    model = synthetic.make_model()
    model.item_factors[:] = 0
    model.item_bias[:] = 0
    model.item_bias[[1, 2]] = 2
    counts = np.full(synthetic.N_ITEMS, 10)
    counts[1] = 1
    effects = item_effects(model, counts)
    assert np.argmax(effects) == 2
    assert effects[1] < effects[2] / 3


def test_items_without_ratings_have_no_effect():
    assert not item_effects(synthetic.make_model(), np.zeros(synthetic.N_ITEMS, np.int64)).any()


@pytest.mark.parametrize("recipe", ["dot-bias", "neural-net", "hybrid", "fast", "p1", "p9", "p12"])
def test_the_items_that_users_rate_higher_have_higher_effects(recipe):
    """Every item is rated by its quality, 1 to 5, so the order of the effects must be that of the qualities."""
    random = np.random.default_rng(2)
    dataset = synthetic.make_dataset(60, 30, ratings_per_user=20)
    quality = random.permutation(np.linspace(1, 5, 30))
    noise = random.normal(0, 0.3, dataset.n_ratings)
    ratings = np.clip(quality[dataset.item_rows] + noise, 0.5, 5).astype(np.float32)
    dataset = replace(dataset, ratings=ratings)
    model = train(dataset, None, replace(RECIPES[recipe], epochs=max(15, RECIPES[recipe].epochs), batch_size=32)).model
    effects = item_effects(model, dataset.item_rating_counts())
    assert np.corrcoef(effects, quality)[0, 1] > 0.9
