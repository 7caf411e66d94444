"""The latest items of a new user weigh more, by their order."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.manifest_pb2 import EventFeedback, EventType
from cofactor_server.ranking.event_weights import EventColumns, EventWeights

TYPES = [EventType(name="buy", weight=2), EventType(name="back", negative=True)]
WITH_BOOST = EventWeights(EventFeedback(types=TYPES, recency_boost=3, recency_decay=0.5))


def columns(rows, times, amounts=None, negative=()):
    n_events = len(rows)
    return EventColumns(
        np.array(rows),
        np.full(n_events, 2.0) if amounts is None else np.array(amounts),
        np.isin(np.arange(n_events), negative),
        np.array(times, np.float64),
    )


@pytest.mark.parametrize(
    ("rows", "times", "factors"),
    [
        ([5, 6, 7, 8], [10, 30, 20, 30], [1 + 3 / 8, 4, 1 + 3 / 4, 4]),
        # An event without time is as recent as the newest, also before 1970.
        ([5, 6, 7], [-30, -20, np.nan], [1 + 3 / 4, 4, 4]),
        ([5, 6], [np.nan, np.nan], [1, 1]),
        ([5], [10], [1]),
    ],
)
def test_weights_are_boosted_by_place_and_keep_their_sum(rows, times, factors):
    weighed = WITH_BOOST.weigh(columns(rows, times), by_recency=True)
    expected = np.array(factors) * 2 * len(rows) / np.sum(factors)
    np.testing.assert_allclose(weighed.weights, expected, rtol=1e-6)
    assert WITH_BOOST.weigh(columns(rows[::-1], times[::-1]), by_recency=True).weights.tolist() == (
        pytest.approx(expected)
    )


def test_the_newest_event_of_an_item_gives_its_place():
    weighed = WITH_BOOST.weigh(columns([5, 6, 5], [10, 20, 30]), by_recency=True)
    factors = np.array([4, 1 + 3 / 2])  # item 5 is the latest, although it has the oldest event, too
    np.testing.assert_allclose(weighed.weights, factors * [4, 2] * 6 / (factors @ [4, 2]), rtol=1e-6)


def test_negative_events_have_no_place():
    weighed = WITH_BOOST.weigh(columns([5, 6, 7], [10, 20, 30], negative=[2]), by_recency=True)
    np.testing.assert_allclose(weighed.weights, np.array([2.5, 4]) * 4 / 6.5, rtol=1e-6)


def test_the_events_of_an_item_have_no_places():
    """The boost was fitted on the histories of users."""
    assert WITH_BOOST.weigh(columns([5, 6], [10, 20])).weights.tolist() == [2, 2]


def test_a_version_without_boost_does_not_look_at_the_order():
    plain = EventWeights(EventFeedback(types=TYPES))
    assert plain.weigh(columns([5, 6], [10, 20]), by_recency=True).weights.tolist() == [2, 2]


def test_trainer_and_server_boost_alike():
    from dataclasses import replace

    from cofactor_trainer.data.events.feedback import EventFeedback as Feedback
    from cofactor_trainer.data.events.recency import with_recency
    from tests.support import synthetic

    times = np.array([10, 30, 20, 30, 5], np.float64)
    amounts = np.array([2, 1, 1, 4, 3], np.float32)
    weighed = WITH_BOOST.weigh(columns(range(5), times, amounts), by_recency=True)
    pairs = replace(
        synthetic.make_dataset(),
        user_rows=np.zeros(5, np.int32),
        item_rows=np.arange(5, dtype=np.int32),
        ratings=amounts,
        timestamps=times,
        events=Feedback(mean_weight=1.0, recency_boost=3.0, recency_decay=0.5),
    )
    np.testing.assert_allclose(weighed.weights, with_recency(pairs).ratings, rtol=1e-6)
