"""The map of the items puts items of the same taste together, and names regions by their typical genre."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor_trainer.export.item_map import MOST_ITEMS, draw_item_map
from tests.support import synthetic

TASTES = 5
NAMES = [f"genre {taste}" for taste in range(TASTES)]


def model_of_tastes(n_items, *, seed=1):
    """Return a model whose item i is about taste i % TASTES: its factors are near one of five far corners."""
    model = synthetic.make_model(n_items=n_items, n_factors=TASTES)
    random = np.random.default_rng(seed)
    corners = np.eye(TASTES)[np.arange(n_items) % TASTES]
    model.item_factors[:-1] = corners + random.normal(0, 0.1, corners.shape)
    return model


def genres_of_tastes(n_items):
    """Return the genre of the taste for every item, and one that all items have."""
    return [("all", NAMES[item % TASTES]) for item in range(n_items)]


@pytest.fixture(scope="module")
def drawn():
    return draw_item_map(model_of_tastes(400), np.arange(400)[::-1], genres_of_tastes(400))


def test_the_nearest_items_on_the_map_are_of_the_same_taste(drawn):
    apart = ((drawn.places[:, None] - drawn.places[None]) ** 2).sum(2)
    np.fill_diagonal(apart, np.inf)
    nearest = drawn.rows[np.argsort(apart, axis=1)[:, :5]]
    assert np.mean(nearest % TASTES == drawn.rows[:, None] % TASTES) > 0.98


def test_the_map_fills_its_square(drawn):
    assert drawn.rows.tolist() == list(range(400))  # most rated first
    assert np.abs(drawn.places).max() == pytest.approx(1)
    assert np.isfinite(drawn.places).all()


def test_every_region_is_named_by_its_typical_genre(drawn):
    assert {text for _, _, text in drawn.labels} == set(NAMES)
    for x, y, text in drawn.labels:
        nearest = np.argsort(((drawn.places - (x, y)) ** 2).sum(1))[:10]
        assert np.mean(drawn.rows[nearest] % TASTES == NAMES.index(text)) > 0.8


def test_the_same_model_gives_the_same_map(drawn):
    again = draw_item_map(model_of_tastes(400), np.arange(400)[::-1], genres_of_tastes(400))
    assert np.array_equal(again.places, drawn.places)
    assert again.labels == drawn.labels


def test_only_the_most_rated_items_are_on_the_map():
    n_items = MOST_ITEMS + 50
    counts = np.arange(n_items)
    rows = draw_item_map(model_of_tastes(n_items), counts, [()] * n_items).rows
    assert len(rows) == MOST_ITEMS
    assert rows.min() == 50


@pytest.mark.parametrize("n_items", [1, 2, 3, 15])
def test_a_few_items_and_items_without_genres_have_a_map(n_items):
    drawn = draw_item_map(synthetic.make_model(n_items=n_items), np.ones(n_items, int), [()] * n_items)
    assert drawn.places.shape == (n_items, 2)
    assert np.isfinite(drawn.places).all()
    assert drawn.labels == []


def test_items_with_equal_factors_have_a_map():
    model = synthetic.make_model(n_items=60, n_factors=1)
    model.item_factors[:] = 1
    drawn = draw_item_map(model, np.ones(60, int), [("a",)] * 60)
    assert np.isfinite(drawn.places).all()
