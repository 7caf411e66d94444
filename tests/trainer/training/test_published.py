"""The published recipe reaches its published loss on MovieLens 100k; skipped without the data."""

import os
from pathlib import Path

import numpy as np
import pytest

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.movielens import load_100k
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.training.train import train

FOLDER = Path(os.environ.get("COFACTOR_ML100K") or Path(__file__).resolve().parents[2] / "../shared/data/ml-100k")
pytestmark = pytest.mark.skipif(
    not (FOLDER / "u.data").is_file(), reason="MovieLens 100k is not here: name its folder in COFACTOR_ML100K"
)


@pytest.fixture(scope="module")
def by_title():
    return load_100k(FOLDER, by_title=True)


def test_items_grouped_by_title_give_the_published_table(by_title):
    assert (by_title.n_users, by_title.n_items, by_title.n_ratings) == (943, 1664, 100_000)
    assert list(by_title.profiles.columns) == ["age", "gender", "occupation"]
    first = by_title.user_ids.index("196"), by_title.catalogue.item_ids.index("242")
    assert (by_title.user_rows[0], by_title.item_rows[0], by_title.ratings[0]) == (*first, 3)


def test_without_grouping_every_item_id_is_an_item():
    dataset = load_100k(FOLDER)
    assert dataset.n_items == 1682
    row = dataset.catalogue.item_ids.index("1")
    assert dataset.catalogue.titles[row] == "Toy Story (1995)"
    assert dataset.catalogue.genres[row] == ("Animation", "Children's", "Comedy")
    assert dataset.catalogue.release_years[row] == 1995


def test_the_published_recipe_reaches_its_target_on_splits_42_to_46(by_title):
    losses = []
    for seed in range(42, 47):
        split = random_split(by_title, seed=seed)
        losses.append(train(split.train, split.validation, RECIPES["p8"], seed=seed).history[-1].validation_loss)
    assert np.mean(losses) <= 0.813
