"""The latest items of a history weigh more, by their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.events.recency import newer_items, with_recency
from tests.support import synthetic

TIMES = {0: [10, 30, 20, 30], 2: [5], 3: [7, 7]}


def pairs_of(times, weights=None):
    users = np.concatenate([np.full(len(of_user), user) for user, of_user in times.items()])
    n_pairs = len(users)
    return replace(
        synthetic.make_dataset(),
        user_rows=users.astype(np.int32),
        item_rows=np.arange(n_pairs, dtype=np.int32),
        ratings=np.ones(n_pairs, np.float32) if weights is None else np.array(weights, np.float32),
        timestamps=np.concatenate(list(times.values())).astype(np.float64),
        events=EventFeedback(mean_weight=1.0, recency_boost=3.0, recency_decay=0.5),
    )


def test_the_place_of_an_item_is_the_number_of_newer_ones():
    assert newer_items(pairs_of(TIMES)).tolist() == [3, 0, 2, 0, 0, 0, 0]


def test_boosted_weights_keep_their_sum():
    pairs = pairs_of(TIMES, [2, 1, 1, 4, 9, 1, 2])
    weighed = with_recency(pairs).ratings
    factors = np.array([1 + 3 / 8, 4, 1 + 3 / 4, 4]) * [2, 1, 1, 4]
    np.testing.assert_allclose(weighed[:4], factors * 8 / factors.sum(), rtol=1e-6)
    np.testing.assert_allclose(weighed[4:], [9, 1, 2], rtol=1e-6)  # equal places change nothing


def test_a_data_set_without_boost_or_without_times_stays_as_it_is():
    pairs = pairs_of(TIMES)
    for other in (replace(pairs, events=replace(pairs.events, recency_boost=0.0)), replace(pairs, timestamps=None)):
        assert with_recency(other) is other
