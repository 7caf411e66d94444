"""Turn events into one weight per pair of a user and an item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Float64Array, Int64Array, Pairs, RatingsDataset
from cofactor_trainer.data.duplicates import pair_numbers
from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.events.rated_rows import rated_rows
from cofactor_trainer.errors import InputError


def weigh_events(events: RatingsDataset) -> RatingsDataset:
    """Replace the events of a data set by one row per pair of a user and an item, whose rating is the weight.

    The rows are sorted by user and item; their times are those of the newest event. Items that a user has a negative
    event of become dismissed pairs. The ratings of a table of ratings and events become the data set ``rated``. A data
    set of ratings, or of events that are weighed, stays as it is.

    Raises:
        InputError: all events are negative.
    """
    feedback = events.events
    if feedback is None or feedback.is_weighed:
        return events
    weights = _decayed(events, feedback)
    firsts, pair_of_event = distinct_pairs(events)
    sums = np.bincount(pair_of_event, weights, len(firsts))
    if feedback.log_weights:
        sums = np.log1p(sums)
    if feedback.weight_cap:
        sums = np.minimum(sums, feedback.weight_cap)
    dismissed = np.zeros(len(firsts), bool)
    dismissed[pair_of_event[events.ratings == 0]] = True
    times = None if events.timestamps is None else _newest(events.timestamps.astype(np.float64), pair_of_event)
    # Nothing that happened may weigh nothing: an old event with a short half-life would underflow.
    sums = np.maximum(sums, np.finfo(np.float32).tiny)
    wanted = ~dismissed
    if not wanted.any():
        raise InputError(f"all events of {events.name} are negative: there is nothing to learn")
    users, items = events.user_rows[firsts], events.item_rows[firsts]
    return replace(
        events,
        user_rows=users[wanted],
        item_rows=items[wanted],
        ratings=sums[wanted].astype(np.float32),
        timestamps=None if times is None else times[wanted],
        held_out=None,
        dismissed=Pairs(users[dismissed], items[dismissed]),
        events=replace(
            feedback,
            mean_weight=float(sums[wanted].mean()),
            newest_time=_newest_time(events),
            rating_weight=_rating_weight(events),
        ),
        given_ratings=None,
        rated=rated_rows(events),
    )


def distinct_pairs(events: RatingsDataset) -> tuple[Int64Array, Int64Array]:
    """Number the pairs of a user and an item, sorted by user and item.

    Returns:
        Positions of one event of every pair (n_pairs,), and the number of the pair of every event (n_events,).
    """
    numbers = pair_numbers(events.user_rows, events.item_rows, events.n_items)
    _, firsts, pair_of_event = np.unique(numbers, return_index=True, return_inverse=True)
    return firsts, pair_of_event


def count_pairs(events: RatingsDataset) -> int:
    """Count the pairs of a user and an item; this takes less memory than to number them."""
    numbers = pair_numbers(events.user_rows, events.item_rows, events.n_items)
    numbers.sort()
    return int(np.count_nonzero(np.diff(numbers))) + min(len(numbers), 1)


def with_dismissed(pairs: RatingsDataset) -> RatingsDataset:
    """Add the dismissed pairs of a data set to its rows, with the rating 0: what Recommend leaves out."""
    dismissed = pairs.dismissed
    if dismissed is None or not len(dismissed.user_rows):
        return pairs
    return replace(
        pairs,
        user_rows=np.concatenate([pairs.user_rows, dismissed.user_rows]),
        item_rows=np.concatenate([pairs.item_rows, dismissed.item_rows]),
        ratings=np.concatenate([pairs.ratings, np.zeros(len(dismissed.user_rows), np.float32)]),
        timestamps=None,
        dismissed=None,
    )


def without_pairs_of(pairs: RatingsDataset, others: RatingsDataset) -> RatingsDataset:
    """Leave out the pairs of a user and an item that are also in another data set with the same rows."""
    known = np.unique(pair_numbers(others.user_rows, others.item_rows, others.n_items))
    numbers = pair_numbers(pairs.user_rows, pairs.item_rows, pairs.n_items)
    is_new: BoolArray = ~np.isin(numbers, known, assume_unique=False)
    return pairs.select_ratings(is_new)


def _decayed(events: RatingsDataset, feedback: EventFeedback) -> Float64Array:
    """Return the weight of every event after decay by its age, (n_events,)."""
    weights = events.ratings.astype(np.float64)
    if not feedback.half_life:
        return weights
    assert events.timestamps is not None, "EventSettings.describe checks that there are times"
    ages = events.timestamps.max() - events.timestamps
    decayed: Float64Array = weights * np.exp2(-ages / feedback.half_life)
    return decayed


def _rating_weight(events: RatingsDataset) -> float:
    """Return the mean weight times count of the rated events that are not negative; 0 if there are none."""
    if events.given_ratings is None:
        return 0.0
    weights = events.ratings[~np.isnan(events.given_ratings) & (events.ratings > 0)]
    return float(weights.mean(dtype=np.float64)) if len(weights) else 0.0


def _newest(times: Float64Array, pair_of_event: Int64Array) -> Float64Array:
    newest = np.full(int(pair_of_event.max()) + 1, -np.inf)
    np.maximum.at(newest, pair_of_event, times)
    return newest


def _newest_time(events: RatingsDataset) -> float | None:
    return None if events.timestamps is None else float(events.timestamps.max())
