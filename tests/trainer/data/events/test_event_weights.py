"""The weight of an item for a user follows from the user's events."""

import math

import numpy as np
import pytest

from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.data.events import weights as event_weights
from cofactor_trainer.data.events.feedback import EventSettings, EventType
from cofactor_trainer.data.events.from_ratings import events_from_ratings
from cofactor_trainer.data.events.weights import distinct_pairs, weigh_events, with_dismissed
from cofactor_trainer.errors import InputError
from tests.support.synthetic import make_dataset

DAY = 86_400


def make_events(rows, **settings):
    """Make events of rows (user, item, weight[, day])."""
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    users, items = columns[:2]
    n_users, n_items = users.max() + 1, items.max() + 1
    types = (EventType("", 5.0),)
    return RatingsDataset(
        "events",
        [str(user) for user in range(n_users)],
        Catalogue([str(i) for i in range(n_items)], [""] * n_items, [()] * n_items, np.zeros(n_items, np.int64)),
        users.astype(np.int32),
        items.astype(np.int32),
        columns[2].astype(np.float32),
        columns[3].astype(np.float64) * DAY if len(columns) > 3 else None,
        0.0,
        0.0,
        events=EventSettings(**settings).describe(types, float(columns[3].max()) if len(columns) > 3 else None),
    )


def weights(events):
    pairs = weigh_events(events)
    return {(int(u), int(i)): float(w) for u, i, w in zip(pairs.user_rows, pairs.item_rows, pairs.ratings, strict=True)}


REPEATS = [(0, 0, 1, 0), (0, 1, 2, 10), (0, 0, 2, 20), (1, 1, 4, 30), (1, 1, 4, 30)]


def test_events_of_a_pair_add_up():
    assert weights(make_events(REPEATS, weight_cap=0)) == {(0, 0): 3, (0, 1): 2, (1, 1): 8}


def test_a_cap_limits_the_sum_and_a_logarithm_comes_before_it():
    assert weights(make_events(REPEATS)) == {(0, 0): 3, (0, 1): 2, (1, 1): 5}
    logs = weights(make_events(REPEATS, log_weights=True))
    assert logs == pytest.approx({(0, 0): math.log(4), (0, 1): math.log(3), (1, 1): math.log(9)})
    assert weights(make_events(REPEATS, log_weights=True, weight_cap=1.2))[1, 1] == pytest.approx(1.2)


def test_a_half_life_halves_by_the_age_against_the_newest_event():
    found = weights(make_events(REPEATS, half_life=10 * DAY, weight_cap=0))
    assert found == pytest.approx({(0, 0): 1 / 8 + 2 / 2, (0, 1): 2 / 4, (1, 1): 8})


def test_an_event_of_long_ago_still_counts():
    found = weigh_events(make_events([(0, 0, 1, 0), (1, 1, 1, 1e6)], half_life=DAY))
    assert (found.ratings > 0).all()


def test_an_item_with_a_negative_event_has_no_weight_and_is_dismissed():
    pairs = weigh_events(make_events([*REPEATS, (0, 0, 0, 25)]))
    assert {(0, 1), (1, 1)} == {(u, i) for u, i in zip(pairs.user_rows, pairs.item_rows, strict=True)}
    assert (pairs.dismissed.user_rows.tolist(), pairs.dismissed.item_rows.tolist()) == ([0], [0])
    everything = with_dismissed(pairs)
    assert everything.n_ratings == 3
    assert everything.ratings[-1] == 0


def test_weighed_events_say_their_mean_and_newest_time():
    feedback = weigh_events(make_events(REPEATS, weight_cap=0)).events
    assert feedback.mean_weight == pytest.approx(13 / 3)
    assert feedback.newest_time == 30 * DAY
    assert feedback.fold_in_scale * feedback.mean_weight == pytest.approx(1.5)


def test_weighing_twice_changes_nothing():
    pairs = weigh_events(make_events(REPEATS))
    assert weigh_events(pairs) is pairs


def test_only_negative_events_are_refused():
    with pytest.raises(InputError, match="all events of events are negative"):
        weigh_events(make_events([(0, 0, 0), (1, 1, 0)]))


def test_ratings_from_a_threshold_on_become_events_and_the_others_are_dismissed():
    small_ratings = make_dataset()
    events = events_from_ratings(small_ratings, 4)
    pairs = weigh_events(events)
    assert (pairs.ratings == 1).all()
    assert pairs.n_ratings == (small_ratings.ratings >= 4).sum()
    assert len(pairs.dismissed.user_rows) == (small_ratings.ratings < 4).sum()
    assert (pairs.rating_min, pairs.rating_max) == (0, 0)
    with pytest.raises(InputError, match=r"--positive-from is 6, but the ratings of .* go from .* to 5: no rating"):
        events_from_ratings(small_ratings, 6)


@pytest.mark.parametrize("settings", [{}, {"half_life": 5 * DAY}, {"log_weights": True, "weight_cap": 0}])
def test_blocks_of_users_weigh_like_all_users_at_once(settings, monkeypatch):
    random = np.random.default_rng(3)
    n = 400
    rows = np.column_stack(
        [random.integers(0, 30, n), random.integers(0, 9, n), random.integers(0, 4, n), random.integers(0, 50, n)]
    )
    events = make_events([*map(tuple, rows), (29, 8, 1, 1)], **settings)
    at_once = weigh_events(events)
    firsts, numbers = distinct_pairs(events)
    monkeypatch.setattr(event_weights, "EVENTS_PER_BLOCK", 40)
    in_blocks = weigh_events(events)
    assert len(list(event_weights.user_blocks(events))) > 8
    for name in ("user_rows", "item_rows", "ratings", "timestamps"):
        np.testing.assert_array_equal(getattr(in_blocks, name), getattr(at_once, name), name)
    np.testing.assert_array_equal(in_blocks.dismissed.item_rows, at_once.dismissed.item_rows)
    assert in_blocks.events.mean_weight == pytest.approx(at_once.events.mean_weight)
    block_firsts, block_numbers = distinct_pairs(events)
    np.testing.assert_array_equal(block_numbers, numbers)
    for name in ("user_rows", "item_rows"):
        np.testing.assert_array_equal(getattr(events, name)[block_firsts], getattr(events, name)[firsts])
