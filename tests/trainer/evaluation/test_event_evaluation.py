"""Events are judged by the items that users come to, and beside what is popular of late."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.dataset import Pairs
from cofactor_trainer.data.events.weights import weigh_events
from cofactor_trainer.data.splits import Split
from cofactor_trainer.evaluation.baselines import fit_popularity, fit_recent_popularity
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, judge_recommendations
from tests.trainer.data.events.test_event_weights import make_events

# Item 0 has the most events, item 1 the most of late. User 2 has only item 3.
TRAIN = [(0, 0, 1, 1), (1, 0, 1, 2), (3, 0, 1, 3), (3, 2, 1, 4), (0, 1, 1, 90), (1, 1, 1, 99), (2, 3, 1, 5)]


@pytest.fixture
def split():
    """Return a split in which user 2 comes to item 1 later, and again to item 3."""
    train = weigh_events(make_events(TRAIN))
    later = weigh_events(make_events([(2, 1, 1, 100), (2, 3, 1, 101)]))
    held_out = replace(train, user_rows=later.user_rows, item_rows=later.item_rows, ratings=later.ratings)
    return Split(train, replace(held_out, timestamps=later.timestamps))


def test_recent_popularity_orders_by_the_latest_events(split):
    assert np.argsort(-fit_popularity(split.train).item_bias[:4])[0] == 0
    assert np.argsort(-fit_recent_popularity(split.train, 0.3).item_bias[:4])[0] == 1
    with pytest.raises(ValueError, match="recent popularity needs times"):
        fit_recent_popularity(replace(split.train, timestamps=None))


def test_every_held_out_event_is_relevant_whatever_its_weight(split):
    light = replace(split, validation=replace(split.validation, ratings=np.full(2, 1e-9, np.float32)))
    model = fit_popularity(split.train)
    assert evaluate_ranking(model, light, 4).n_users == 1
    assert evaluate_ranking(model, light, 4).recall == evaluate_ranking(model, split, 4).recall == 0.5


def test_repeats_are_candidates_only_if_asked_for(split):
    model = fit_popularity(split.train)
    assert 3 not in judge_recommendations(model, split, 4).item_rows[0]
    assert 3 in judge_recommendations(model, split, 4, includes_rated=True).item_rows[0]
    assert evaluate_ranking(model, split, 4, includes_rated=True).recall == 1


def test_what_a_user_does_not_want_is_no_candidate(split):
    unwanted = Pairs(np.array([2], np.int32), np.array([0], np.int32))
    refused = replace(split, train=replace(split.train, dismissed=unwanted))
    for includes_rated in (False, True):
        judged = judge_recommendations(fit_popularity(split.train), refused, 4, includes_rated=includes_rated)
        assert 0 not in judged.item_rows[0]


def test_the_command_compares_with_popularity_of_all_time_and_of_late(tmp_path, capsys):
    random = np.random.default_rng(0)
    rows = [f"u{random.integers(20)},i{random.integers(30)},{1_700_000_000 + n * 3600}" for n in range(600)]
    path = tmp_path / "events.csv"
    path.write_text("\n".join(["user,item,time", *rows]))
    flags = ["--dataset", str(path), "--epochs", "1", "--split", "time", "--device", "cpu", "--json"]
    assert main(["evaluate", *flags]) == 0
    output = json.loads(capsys.readouterr().out)
    assert list(output["measures"]) == ["popularity", "recent popularity", "ranking"]
    assert output["protocol"]["feedback"] == "events"
    assert "has no event of in the train part" in output["protocol"]["candidates"]
    assert all("rmse" not in measures for measures in output["measures"].values())
    assert main(["evaluate", *flags, "--repeats"]) == 0
    repeated = json.loads(capsys.readouterr().out)
    assert repeated["protocol"]["n_held_out"] > output["protocol"]["n_held_out"]
