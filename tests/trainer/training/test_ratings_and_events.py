"""In a table of ratings and events the rated rows train the predictions, and all rows train the order."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.architectures.recipes import find_recipe
from cofactor_trainer.data.dataset_builder import RatingScale
from cofactor_trainer.data.events.feedback import EventSettings
from cofactor_trainer.data.events.files import read_events
from cofactor_trainer.data.events.splits import split_events
from cofactor_trainer.data.events.weights import weigh_events, with_dismissed
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.data.splits import in_rows_of, random_mask
from cofactor_trainer.export.finished_training import FinishedTraining, read_training, save_training
from cofactor_trainer.export.version_arrays import rated_arrays
from cofactor_trainer.graphs.prior_estimation import estimate_rating_prior
from cofactor_trainer.graphs.ranking_prior import estimate_priors
from cofactor_trainer.scoring.ranking_part import rating_part
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.rated_rows import train_on_ratings
from cofactor_trainer.training.train import train
from tests.support import shop

SETTINGS = EventSettings({"view": 2, "buy": 4, "review": 0.5}, negative=("return",))
SMALL = """user,item,event,rating,time
ann,shoe,view,,1700000000
ann,shoe,review,2,1700000001
ann,shoe,review,4,1700000002
ann,hat,buy,,1700000003
bob,hat,return,1,1700000004
bob,shoe,buy,5,1700000005
"""


def read(path, **options):
    return read_events(path, settings=SETTINGS, has_ratings=True, **options)


def pairs_of(dataset):
    names = zip(dataset.user_rows, dataset.item_rows, dataset.ratings, strict=True)
    return {(dataset.user_ids[u], dataset.catalogue.item_ids[i]): round(float(r), 4) for u, i, r in names}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return shop.write_mixed_table(tmp_path_factory.mktemp("mixed") / "table.csv")


@pytest.fixture(scope="module")
def recipe():
    ranking = replace(find_recipe("dot-bias").ranking[0], n_factors=8, n_exported_factors=None, epochs=3)
    settings = {"n_factors": 4, "epochs": 3, "weight_decay": 0.5, "ranking": (ranking,)}
    return find_recipe("dot-bias").with_settings(**settings)


@pytest.fixture(scope="module")
def model(table, recipe):
    events = weigh_events(read(table))
    return add_ranking_part(train_on_ratings(events, None, recipe).model, events, recipe)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text(SMALL)
    return path


def test_rated_rows_are_ratings_and_events_at_once(small):
    events = read(small)
    assert events.given_scale == (1, 5)
    weighed = weigh_events(events)
    # Only the latest rating of the shoe counts; both reviews are events.
    assert pairs_of(weighed.rated) == {("ann", "shoe"): 4, ("bob", "hat"): 1, ("bob", "shoe"): 5}
    assert pairs_of(weighed) == {("ann", "shoe"): 3, ("ann", "hat"): 4, ("bob", "shoe"): 4}
    assert (weighed.rated.rating_min, weighed.rated.rating_max, weighed.rated.events) == (1, 5, None)


def test_a_rating_weighs_as_the_mean_of_the_rated_rows_that_are_not_negative(small):
    # The first review has lost its rating to the second.
    assert weigh_events(read(small)).events.rating_weight == pytest.approx((0.5 + 4) / 2)


def test_a_scale_is_that_of_the_flag(small):
    rated = weigh_events(read(small, scale=RatingScale(0.5, 7))).rated
    assert (rated.rating_min, rated.rating_max) == (0.5, 7)


def test_the_tables_of_known_items_have_ratings_and_weights(small):
    arrays = rated_arrays(with_dismissed(weigh_events(read(small))))
    columns = [arrays[f"rated.{name}"].tolist() for name in ("item_rows", "ratings", "has_rating", "weights")]
    # ann: hat, shoe; bob: hat, shoe.
    assert columns == [[0, 1, 0, 1], [0, 4, 1, 5], [0, 1, 1, 1], [4, 3, 0, 4]]
    assert arrays["rated.offsets"].tolist() == [0, 2, 4]


def test_the_rating_part_is_bit_for_bit_that_of_the_rated_rows_alone(table, recipe, model, tmp_path):
    lines = table.read_text().splitlines()
    rated = [line.split(",") for line in lines[1:] if ",review," in line]
    alone = tmp_path / "ratings.csv"
    alone.write_text("user_id,item_id,rating,timestamp\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, _, r, t in rated))
    ratings, events = read_ratings(alone), weigh_events(read(table))
    expected, part = train(ratings, None, recipe).model, rating_part(model)
    rows = [events.user_ids.index(user) for user in ratings.user_ids]
    np.testing.assert_array_equal(part.user_factors[rows], expected.user_factors[:-1])
    np.testing.assert_array_equal(part.user_bias[rows], expected.user_bias[:-1])
    np.testing.assert_array_equal(part.item_factors, expected.item_factors)  # every item has ratings
    others = sorted(set(range(len(events.user_ids))) - set(rows))
    assert len(others) == shop.N_MIXED_CUSTOMERS - shop.N_RATERS
    for row in others:
        np.testing.assert_array_equal(part.user_factors[row], expected.user_factors[-1])
    prior, of_both = estimate_rating_prior(expected, ratings), estimate_priors(model, events).main
    np.testing.assert_allclose(of_both.covariance, prior.covariance, rtol=1e-6)
    np.testing.assert_allclose(of_both.mean, prior.mean, rtol=1e-6)


def test_the_ranking_part_is_that_of_the_events_without_their_ratings(table, recipe, model):
    events = weigh_events(read_events(table, settings=SETTINGS))
    expected = add_ranking_part(rating_part(model), events, recipe)
    np.testing.assert_array_equal(model.user_factors, expected.user_factors)
    np.testing.assert_array_equal(model.item_factors, expected.item_factors)


def test_a_split_holds_out_the_rating_of_a_pair_with_its_events(table):
    events = read(table)
    split = split_events(events, lambda rows: random_mask(rows, 0.3, 1), by_pair=True)
    train_pairs, held_out = pairs_of(split.train.rated), pairs_of(split.validation.rated)
    assert not train_pairs.keys() & held_out.keys()
    assert len(train_pairs) + len(held_out) == weigh_events(events).rated.n_ratings
    assert held_out.keys() <= pairs_of(split.validation).keys()
    assert not held_out.keys() & pairs_of(split.train).keys()
    again = in_rows_of(weigh_events(events), split.train)
    assert pairs_of(again.rated) == train_pairs | held_out


def test_a_finished_training_keeps_the_ratings(table, model, tmp_path):
    events = weigh_events(read(table))
    training = FinishedTraining(model, events, "mixed", "1", {}, {}, rated=with_dismissed(events))
    save_training(training, tmp_path / "1.trained.npz")
    restored = read_training(tmp_path / "1.trained.npz")
    for before, after in ((events, restored.dataset), (training.rated, restored.rated)):
        assert pairs_of(after) == pairs_of(before)
        assert pairs_of(after.rated) == pairs_of(before.rated)
    assert restored.dataset.events == events.events
    assert (restored.dataset.rated.rating_min, restored.dataset.rated.rating_max) == (1, 5)


def of_ratings_alone(table, path):
    """Write the rows with a rating."""
    lines = table.read_text(encoding="utf-8").splitlines()
    rated = [line for line in lines[1:] if line.split(",")[3]]
    path.write_text("\n".join([lines[0].replace(",event", ",note"), *rated]) + "\n", encoding="utf-8")
    return path


def test_lr_find_looks_at_the_training_on_the_ratings(table, tmp_path, capsys):
    flags = ("--steps", "10", "--factors", "4", "--batch-size", "64", "--validation-fraction", "0", "--device", "cpu")
    assert main(["lr-find", "--dataset", str(table), *shop.MIXED_FLAGS, *flags]) == 0
    of_both = capsys.readouterr().out
    assert "pass --feedback events for a training on its events" in " ".join(of_both.split())
    rated = of_ratings_alone(table, tmp_path / "rated.csv")
    assert main(["lr-find", "--dataset", str(rated), "--feedback", "ratings", *flags]) == 0
    assert of_both.splitlines()[-11:] == capsys.readouterr().out.splitlines()[-11:]


def test_search_looks_at_the_training_on_the_ratings(table, capsys):
    flags = ("--trials", "1", "--factors", "4", "--epochs", "2", "--batch-size", "64", "--device", "cpu")
    assert main(["search", "--dataset", str(table), *shop.MIXED_FLAGS, *flags]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "pass --feedback events for a training on its events" in output
    # A loss of ratings from 1 to 5, far below that of a softmax over 40 items.
    assert float(output.split("best: loss ")[1].split()[0]) < 3


def test_evaluate_measures_both_parts(table, capsys):
    """Tea drinkers and craftsmen rate alike and buy apart, so the errors and the order come from different parts."""
    flags = ("--dataset", str(table), *shop.MIXED_FLAGS, *shop.MIXED_SIZES, "--device", "cpu", "--json")
    assert main(["evaluate", *flags]) == 0
    output = json.loads(capsys.readouterr().out)
    measures = output["measures"]
    ours = measures["dot-bias"]
    assert ours["rmse"] < 0.8 * 1.6  # the ratings are 1 to 5 with two modes, of standard deviation 1.6
    assert measures["biases only"]["rmse"] == pytest.approx(ours["rmse"], abs=0.2)
    assert ours["ndcg"] > 1.2 * measures["popularity"]["ndcg"]
    assert "rmse" not in measures["popularity"]
    assert 0 < output["protocol"]["n_held_out_ratings"] < output["protocol"]["n_held_out"]
