"""Describe how events become weights of items for users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cofactor_trainer.errors import InputError

# An item of mean weight counts as this many draws from the softmax when a new user is folded in.
MEAN_DRAWS = 1.5


@dataclass(frozen=True)
class EventType:
    """A type of event, such as a purchase.

    Attributes:
        name: name of the type; "" if the table has no types.
        weight: weight of one event; 0 for a negative type.
        is_negative: True if the type says that the user does not want the item.
        n_events: events of the type, counts included.
    """

    name: str
    weight: float
    is_negative: bool = False
    n_events: float = 0.0


@dataclass(frozen=True)
class EventSettings:
    """Hold the flags that weigh events; `EventFeedback` documents the formula.

    Attributes:
        weights: weight of one event by type; 0 leaves a type out. None to weigh all types 1.
        negative: types that say that the user does not want the item.
        half_life: age in seconds after which an event counts half; 0 if the age does not count.
        weight_cap: largest weight of an item for a user; 0 for no limit; None for the weight of the heaviest type, or
            for no limit with log_weights.
        log_weights: True to take log(1 + sum) instead of the sum of a user's events of an item.
    """

    weights: Mapping[str, float] | None = None
    negative: tuple[str, ...] = ()
    half_life: float = 0.0
    weight_cap: float | None = None
    log_weights: bool = False

    def __post_init__(self) -> None:
        for name in self.negative:
            if name in (self.weights or {}):
                raise InputError(
                    f"event type {name!r} is in --events and in --negative-events: an event is either wanted or not, "
                    "leave it out of one of them"
                )
        if self.weights is not None and not any(self.weights.values()):
            raise InputError(
                "--events weighs all types 0, so there is nothing to learn: give one type a weight above 0"
            )

    def weight_of(self, event_type: str) -> float | None:
        """Return the weight of one event of a type, 0 for a negative type; None for a type that is not known."""
        if event_type in self.negative:
            return 0.0
        return 1.0 if self.weights is None else self.weights.get(event_type)

    def describe(self, types: tuple[EventType, ...], newest_time: float | None) -> EventFeedback:
        """Return the settings as they apply to the types of a table, whose newest time is None if it has no times.

        Raises:
            InputError: the half-life needs times.
        """
        if self.half_life and newest_time is None:
            raise InputError(
                "--half-life needs times, but the table has none: name their column with --columns, or leave out "
                "--half-life"
            )
        cap = self.weight_cap
        if cap is None:
            cap = 0.0 if self.log_weights else max(kind.weight for kind in types)
        return EventFeedback(types, self.half_life, cap, self.log_weights, newest_time)


@dataclass(frozen=True)
class EventFeedback:
    """How the events of a data set become weights.

    The weight of an item for a user is the sum over the user's events of the item of

        type weight * count * 0.5^(age / half_life),

    then log(1 + sum) if log_weights is set, then at most weight_cap. The age is the newest time of the data set minus
    the time of the event. An item that the user has a negative event of has no weight.

    Attributes:
        types: sorted by name.
        half_life: in seconds; 0 if the age does not count.
        weight_cap: 0 for no limit.
        log_weights: True to take the logarithm.
        newest_time: seconds since 1970; None if the events have no times.
        mean_weight: mean weight of the pairs of a user and an item; 0 as long as the events are not weighed.
        rating_weight: in a table of ratings and events, mean weight times count of the rated rows that are not
            negative: a new user's rating counts as an event of this weight. 0 for other tables.
        recency_boost: a new user's weights are multiplied by 1 + recency_boost * recency_decay^place and scaled to
            their old sum. The place of an item is the number of items with newer events. 0 if order does not count.
        recency_decay: from 0 to 1.
    """

    types: tuple[EventType, ...] = field(default=(EventType("", 1.0),))
    half_life: float = 0.0
    weight_cap: float = 1.0
    log_weights: bool = False
    newest_time: float | None = None
    mean_weight: float = 0.0
    rating_weight: float = 0.0
    recency_boost: float = 0.0
    recency_decay: float = 0.0

    @property
    def fold_in_scale(self) -> float:
        """Number of draws from the softmax per unit of weight, when a new user's events are folded in."""
        return MEAN_DRAWS / self.mean_weight

    @property
    def is_weighed(self) -> bool:
        """True if the data set has one row per pair of a user and an item, with its weight."""
        return self.mean_weight > 0
