"""Splits of events hold out pairs or events, and weigh each part by itself."""

from functools import partial

import numpy as np
import pytest

from cofactor_trainer.data.duplicates import pair_numbers
from cofactor_trainer.data.events.splits import event_folds, split_events
from cofactor_trainer.data.splits import fold_masks, last_mask, per_user_mask, random_mask, time_mask
from cofactor_trainer.errors import InputError
from tests.trainer.data.events.test_event_weights import make_events


@pytest.fixture(scope="module")
def events():
    """Return 600 events of 20 users and 30 items over 600 days, with repeats and a few returns."""
    random = np.random.default_rng(0)
    users, items = random.integers(0, 20, 600), random.integers(0, 30, 600)
    return make_events(list(zip(users, items, random.random(600) > 0.03, range(600), strict=True)))


def pairs_of(dataset):
    return set(pair_numbers(dataset.user_rows, dataset.item_rows, dataset.n_items).tolist())


@pytest.mark.parametrize(
    "choose", [partial(random_mask, fraction=0.2, seed=1), partial(per_user_mask, fraction=0.2, seed=1)]
)
def test_a_random_split_holds_out_all_events_of_a_pair(choose, events):
    split = split_events(events, choose, by_pair=True)
    assert not pairs_of(split.train) & pairs_of(split.validation)
    assert 0.1 < split.validation.n_ratings / (split.validation.n_ratings + split.train.n_ratings) < 0.25
    assert split.train.events.is_weighed
    # Items that a user does not want stay known to the train part.
    assert len(split.train.dismissed.user_rows) == len(pairs_of(events.select_ratings(events.ratings == 0)))


def test_a_split_by_time_trains_on_what_was_known_and_judges_what_was_new(events):
    split = split_events(events, partial(time_mask, fraction=0.2), by_pair=False)
    assert split.train.timestamps.max() < split.validation.timestamps.min()
    assert split.train.events.newest_time == split.train.timestamps.max()
    assert not pairs_of(split.train) & pairs_of(split.validation)
    with_repeats = split_events(events, partial(time_mask, fraction=0.2), by_pair=False, keeps_repeats=True)
    assert pairs_of(split.validation) < pairs_of(with_repeats.validation)


def test_the_last_event_of_every_user_is_held_out(events):
    split = split_events(events, last_mask, by_pair=False, keeps_repeats=True)
    newest = dict(zip(events.user_rows, events.timestamps, strict=True))
    held_out = split.validation
    assert {split.train.user_ids[user] for user in held_out.user_rows} <= {events.user_ids[user] for user in newest}
    for user, time in zip(held_out.user_rows, held_out.timestamps, strict=True):
        assert newest[int(split.train.user_ids[user])] == time


def test_folds_hold_out_every_wanted_pair_once(events):
    splits = list(event_folds(events, partial(fold_masks, n_folds=3, seed=0)))
    ids = [
        {
            (split.train.user_ids[u], split.train.catalogue.item_ids[i])
            for u, i in zip(split.validation.user_rows, split.validation.item_rows, strict=True)
        }
        for split in splits
    ]
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_a_split_without_anything_new_is_refused():
    events = make_events([(0, 0, 1, 0), (1, 1, 1, 1), (1, 1, 1, 2)])
    with pytest.raises(InputError, match="all of items that their users had before"):
        split_events(events, partial(time_mask, fraction=0.4), by_pair=False)
