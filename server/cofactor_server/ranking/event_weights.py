"""Turn the events of a new user into a weight for each item, with the rule that the version was trained with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cofactor.v1.manifest_pb2 import EventFeedback
from cofactor_server.arrays import BoolArray, FloatArray, IndexArray

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of event.

    Attributes:
        weight: weight of one event.
        is_negative: True if such events speak against the item, which then has no weight.
    """

    weight: float
    is_negative: bool


@dataclass(frozen=True, slots=True, eq=False)
class EventColumns:
    """The events of a new user.

    Attributes:
        item_rows: (n,), -1 for an item that the model does not know.
        amounts: (n,) type weight * count.
        is_negative: (n,).
        times: (n,) in seconds; NaN for an event without time.
    """

    item_rows: IndexArray
    amounts: Float64Array
    is_negative: BoolArray
    times: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class WeightedItems:
    """The items of a user's events.

    Attributes:
        item_rows: (m,) items without negative events, ascending and unique.
        weights: (m,) their weights.
        negative_rows: (l,) items with negative events, ascending and unique.
    """

    item_rows: IndexArray
    weights: FloatArray
    negative_rows: IndexArray


class EventWeights:
    """The event types of a version, and its rule for the weight of an item.

    Attributes:
        types: the types by name.
        only_type: the type that is meant if an event names none; None if several types are not negative.
        weight_of_rating: weight of a rated item without events, in a version that learnt from ratings and events.
    """

    def __init__(self, feedback: EventFeedback) -> None:
        self.types = {kind.name: EventType(kind.weight, kind.negative) for kind in feedback.types}
        positive = [kind for kind in self.types.values() if not kind.is_negative]
        self.only_type = positive[0] if len(positive) == 1 else None
        self._half_life = feedback.half_life_seconds
        self._cap = feedback.weight_cap or np.inf
        self._has_log = feedback.log_weights
        self._boost, self._recency_decay = feedback.recency_boost, feedback.recency_decay
        self.weight_of_rating = float(self._limit(np.array([feedback.rating_weight]))[0])

    def weigh(self, events: EventColumns, *, by_recency: bool = False) -> WeightedItems:
        """Add up the events of each item that has no negative event; `by_recency` for events of a user, not an item."""
        amounts = events.amounts * self._decay(events.times)
        is_known = events.item_rows >= 0
        negative_rows = np.unique(events.item_rows[is_known & events.is_negative])
        counts = is_known & ~np.isin(events.item_rows, negative_rows)
        rows, positions = np.unique(events.item_rows[counts], return_inverse=True)
        weights = np.asarray(np.bincount(positions, amounts[counts], minlength=len(rows)), np.float64)
        limited = self._limit(weights)
        if by_recency and self._boost and len(rows):
            limited = self._by_recency(limited, positions, events.times[counts])
        return WeightedItems(rows, limited, negative_rows)

    def _by_recency(self, weights: FloatArray, positions: IndexArray, times: Float64Array) -> FloatArray:
        """Raise the weights of the latest items, weights (m,), and keep their sum.

        Event i has times[i] and is of the item at positions[i].
        """
        has_time, newest = ~np.isnan(times), np.full(len(weights), -np.inf)
        # An event without time is as recent as the newest.
        np.maximum.at(newest, positions, np.where(has_time, times, times[has_time].max() if has_time.any() else 0.0))
        places = len(newest) - np.searchsorted(np.sort(newest), newest, side="right")
        boosted = weights * (1 + self._boost * self._recency_decay**places)
        scaled: FloatArray = (boosted * (weights.sum() / boosted.sum())).astype(np.float32)
        return scaled

    def _limit(self, sums: Float64Array) -> FloatArray:
        """Apply the logarithm and the cap to sums, (n,) -> (n,)."""
        weights = np.log1p(sums) if self._has_log else sums
        return np.minimum(weights, self._cap).astype(np.float32)

    def _decay(self, times: Float64Array) -> Float64Array:
        """Return the factors (n,) by which the ages of events reduce their weights.

        Ages count from the newest of the times, so that the weights do not depend on the clock.
        """
        has_time = ~np.isnan(times)
        if not self._half_life or not has_time.any():
            return np.ones(len(times))
        ages = np.where(has_time, times[has_time].max() - times, 0.0)
        decay: Float64Array = np.exp2(-ages / self._half_life)
        return decay
