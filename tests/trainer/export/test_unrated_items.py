"""Items without ratings get a row by their attributes, and nothing else about a version changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.data.events.from_ratings import events_from_ratings
from cofactor_trainer.data.events.weights import weigh_events, with_dismissed
from cofactor_trainer.export.finished_training import FinishedTraining, read_training, save_training
from cofactor_trainer.export.unrated_items import prepare_content
from tests.support.new_items.reference import UNRATED, make_taste_model
from tests.support.synthetic import make_model, make_two_part_model, with_attributes


@pytest.fixture(scope="module")
def made():
    return make_taste_model(make_two_part_model)


@pytest.fixture(scope="module")
def content(made):
    return prepare_content(made.model, replace(made.dataset, unrated=UNRATED), None)


def pairs(dataset):
    """Return the ratings with ids in the place of rows."""
    items = dataset.catalogue.item_ids
    return [(dataset.user_ids[u], items[i]) for u, i in zip(dataset.user_rows, dataset.item_rows, strict=True)]


def test_the_catalogue_has_all_items_by_id_and_the_ratings_are_the_same(made, content):
    ids = content.dataset.catalogue.item_ids
    assert list(ids) == sorted([*made.dataset.catalogue.item_ids, *UNRATED.item_ids])
    assert content.n_unrated == 3
    assert pairs(content.dataset) == pairs(made.dataset)
    assert pairs(content.rated) == pairs(made.dataset)
    title_of = dict(zip(ids, content.dataset.catalogue.titles, strict=True))
    assert (title_of["i050-action"], title_of["i050"]) == ("Unseen B", "The Film of 50")
    assert content.dataset.unrated is None


def test_rated_items_and_the_unknown_item_keep_their_rows(made, content):
    rows = {item_id: row for row, item_id in enumerate(content.dataset.catalogue.item_ids)}
    places = [*(rows[item_id] for item_id in made.dataset.catalogue.item_ids), len(rows)]
    np.testing.assert_array_equal(content.model.item_factors[places], made.model.item_factors)
    np.testing.assert_array_equal(content.model.item_bias[places], made.model.item_bias)
    assert content.priors.main.mean == pytest.approx(prepare_content(made.model, made.dataset, None).priors.main.mean)


def test_their_rows_follow_from_their_genres(made, content):
    ids, genres = list(content.dataset.catalogue.item_ids), made.dataset.catalogue.genres
    means = {
        name: made.model.item_factors[:-1][[name in own for own in genres]].mean(0) for name in ("Drama", "Action")
    }
    for item_id, genre in (("a-drama", "Drama"), ("i050-action", "Action")):
        row = content.model.item_factors[ids.index(item_id), :-1]
        distances = {name: np.linalg.norm(row - mean[:-1]) for name, mean in means.items()}
        assert min(distances, key=distances.get) == genre


def test_their_ranking_bias_is_lower_by_what_popularity_is_worth(made):
    dataset = made.dataset
    # Items are the more popular the higher their row, and the ranking bias is twice the log of the popularity.
    kept = np.random.default_rng(0).random(dataset.n_ratings) < dataset.item_rows / dataset.n_items
    dataset = replace(dataset.select_ratings(kept), unrated=UNRATED)
    popularity = np.log1p(dataset.item_rating_counts())
    factors = made.model.item_factors.copy()
    factors[:-1, -1] = 2 * popularity
    content = prepare_content(replace(made.model, item_factors=factors), dataset, None)
    worth = 2 * popularity[dataset.item_rating_counts() >= 1].mean()
    assert content.item_priors.ranking.bias.unrated_offset == pytest.approx(worth, rel=1e-4)
    ids = list(content.dataset.catalogue.item_ids)
    biases = [content.model.item_factors[ids.index(item_id), -1] for item_id in UNRATED.item_ids]
    # A new item may be as popular as any other; these are like items that nobody chose.
    assert max(biases) < np.quantile(factors[:-1, -1], 0.2)


def test_a_network_leaves_them_out(made):
    content = prepare_content(make_model("neural-network"), replace(made.dataset, unrated=UNRATED), None)
    assert (content.item_priors, content.n_unrated, content.dataset.n_items) == (None, 0, made.dataset.n_items)


def test_events_and_dismissed_pairs_follow(made):
    events = weigh_events(events_from_ratings(made.dataset, 3))
    model = make_model(objective="ranking", rating_range=None)
    content = prepare_content(model, replace(events, unrated=UNRATED), with_dismissed(replace(events, unrated=UNRATED)))
    assert pairs(content.rated) == pairs(with_dismissed(events))
    assert content.n_unrated == 3


def test_a_saved_training_keeps_them_with_their_attributes(made, tmp_path):
    described = with_attributes(made.dataset)
    attributes = described.catalogue.attributes.select(np.array([4, 5, -1]))
    dataset = replace(described, unrated=replace(UNRATED, attributes=attributes))
    save_training(FinishedTraining(made.model, dataset, "m", "1", {}, {}), tmp_path / "1.trained.npz")
    read = read_training(tmp_path / "1.trained.npz").dataset.unrated
    assert list(read.item_ids) == list(UNRATED.item_ids)
    assert list(read.genres) == list(UNRATED.genres)
    for ours, theirs in zip(read.attributes.columns, attributes.columns, strict=True):
        assert [ours.value(row) for row in range(3)] == [theirs.value(row) for row in range(3)]
    content = prepare_content(made.model, dataset, None)
    joined = content.dataset.catalogue
    row = list(joined.item_ids).index("a-drama")
    for column, own in zip(joined.attributes.columns, described.catalogue.attributes.columns, strict=True):
        assert column.value(row) == own.value(4)
