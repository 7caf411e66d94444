"""Turn events into one weight per pair of a user and an item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cofactor_trainer.data.dataset import (
    BoolArray,
    Float32Array,
    Float64Array,
    Int64Array,
    Pairs,
    RatingsDataset,
    RowArray,
    TimeArray,
    row_counts,
)
from cofactor_trainer.data.duplicates import pair_numbers
from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.events.rated_rows import rated_rows
from cofactor_trainer.errors import InputError
from cofactor_trainer.memory import GrowingArray

# Events that are sorted at a time; sorting takes 60 bytes an event.
EVENTS_PER_BLOCK = 1 << 19


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
    newest_time = _newest_time(events)
    collected = _GrowingPairs(events.timestamps), _GrowingPairs(events.timestamps)
    for parts in _weigh_blocks(events, feedback, newest_time):
        for pairs, part in zip(collected, parts, strict=True):
            pairs.append(part)
    wanted, dismissed = (pairs.all() for pairs in collected)
    if not len(wanted.user_rows):
        raise InputError(f"all events of {events.name} are negative: there is nothing to learn")
    return replace(
        events,
        user_rows=wanted.user_rows,
        item_rows=wanted.item_rows,
        ratings=wanted.weights,
        timestamps=wanted.times,
        held_out=None,
        dismissed=Pairs(dismissed.user_rows, dismissed.item_rows),
        events=replace(
            feedback,
            mean_weight=wanted.total / len(wanted.user_rows),
            newest_time=newest_time,
            rating_weight=_rating_weight(events),
        ),
        given_ratings=None,
        rated=rated_rows(events),
    )


@dataclass(frozen=True)
class _WeighedPairs:
    """Pairs of a user and an item with their weights, the sum of these, and the times of their newest events."""

    user_rows: RowArray
    item_rows: RowArray
    weights: Float32Array
    total: float
    times: Float64Array | None


class _GrowingPairs:
    """Collects pairs block by block, without a copy of all of them at the end."""

    def __init__(self, times: TimeArray | None) -> None:
        self._users, self._items = GrowingArray(np.int32), GrowingArray(np.int32)
        self._weights, self._total = GrowingArray(np.float32), 0.0
        self._times: GrowingArray[Any] | None = None if times is None else GrowingArray(times.dtype)

    def append(self, part: _WeighedPairs) -> None:
        self._users.append(part.user_rows)
        self._items.append(part.item_rows)
        self._weights.append(part.weights)
        self._total += part.total
        if self._times is not None:
            assert part.times is not None
            self._times.append(part.times)

    def all(self) -> _WeighedPairs:
        times = None if self._times is None else self._times.values()
        return _WeighedPairs(self._users.values(), self._items.values(), self._weights.values(), self._total, times)


def _weigh_blocks(
    events: RatingsDataset, feedback: EventFeedback, newest_time: float | None
) -> Iterator[tuple[_WeighedPairs, _WeighedPairs]]:
    """Yield the wanted and the dismissed pairs of a block of users after the other, sorted by user and item.

    All at once would take ten times the memory of the result.
    """
    for block in user_blocks(events):
        users, items, given = events.user_rows[block], events.item_rows[block], events.ratings[block]
        times = None if events.timestamps is None else events.timestamps[block].astype(np.float64)
        weights = _decayed(given.astype(np.float64), times, feedback, newest_time)
        firsts, pair_of_event = _distinct_pairs(users, items, events.n_items)
        sums = np.bincount(pair_of_event, weights, len(firsts)).astype(np.float64, copy=False)
        if feedback.log_weights:
            sums = np.log1p(sums)
        if feedback.weight_cap:
            sums = np.minimum(sums, feedback.weight_cap)
        # Nothing that happened may weigh nothing: an old event with a short half-life would underflow.
        sums = np.maximum(sums, np.finfo(np.float32).tiny)
        newest = None if times is None else _newest(times, pair_of_event)
        dismissed = np.zeros(len(firsts), bool)
        dismissed[pair_of_event[given == 0]] = True
        users, items = users[firsts], items[firsts]
        yield (
            _select_pairs(users, items, sums, newest, ~dismissed),
            _select_pairs(users, items, sums, newest, dismissed),
        )


def _select_pairs(
    users: RowArray, items: RowArray, sums: Float64Array, times: Float64Array | None, chosen: BoolArray
) -> _WeighedPairs:
    weights = sums[chosen]
    return _WeighedPairs(
        users[chosen],
        items[chosen],
        weights.astype(np.float32),
        float(weights.sum()),
        None if times is None else times[chosen],
    )


def distinct_pairs(events: RatingsDataset) -> tuple[RowArray | Int64Array, RowArray | Int64Array]:
    """Number the pairs of a user and an item, sorted by user and item.

    Returns:
        Positions of one event of every pair (n_pairs,), and the number of the pair of every event (n_events,).
    """
    if events.n_ratings <= EVENTS_PER_BLOCK:
        return _distinct_pairs(events.user_rows, events.item_rows, events.n_items)
    # Numbered block by block, because sorting takes eight times the memory of the rows.
    firsts, n_pairs = [], 0
    pair_of_event = np.empty(events.n_ratings, np.int32)
    for block in user_blocks(events):
        of_block, places = _distinct_pairs(events.user_rows[block], events.item_rows[block], events.n_items)
        firsts.append(block[of_block].astype(np.int32))
        pair_of_event[block] = places + n_pairs
        n_pairs += len(of_block)
    return np.concatenate(firsts), pair_of_event


def _distinct_pairs(user_rows: RowArray, item_rows: RowArray, n_items: int) -> tuple[Int64Array, Int64Array]:
    numbers = pair_numbers(user_rows, item_rows, n_items)
    _, firsts, pair_of_event = np.unique(numbers, return_index=True, return_inverse=True)
    return firsts, pair_of_event


def user_blocks(events: RatingsDataset) -> Iterator[Int64Array]:
    """Yield the positions of the events of some users after the other, ascending in each block.

    A block has EVENTS_PER_BLOCK events, or more if one user has them.
    """
    if events.n_ratings <= EVENTS_PER_BLOCK:
        yield np.arange(events.n_ratings)
        return
    ends = np.cumsum(row_counts(events.user_rows, events.n_users + 1))
    first = 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + EVENTS_PER_BLOCK, side="right")))
        positions = np.flatnonzero((events.user_rows >= first) & (events.user_rows < last))
        if len(positions):
            yield positions
        first = last


def count_pairs(events: RatingsDataset) -> int:
    """Count the pairs of a user and an item; this takes less memory than to number them."""
    numbers = pair_numbers(events.user_rows, events.item_rows, events.n_items)
    numbers.sort()
    return int(np.count_nonzero(numbers[1:] != numbers[:-1])) + min(len(numbers), 1)


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


def _decayed(
    weights: Float64Array, times: Float64Array | None, feedback: EventFeedback, newest_time: float | None
) -> Float64Array:
    """Return the weights of events after decay by their age, (n_events,)."""
    if not feedback.half_life:
        return weights
    assert times is not None, "EventSettings.describe checks that there are times"
    assert newest_time is not None
    decayed: Float64Array = weights * np.exp2(-(newest_time - times) / feedback.half_life)
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
