"""Turn ratings into events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.events.feedback import EventSettings, EventType
from cofactor_trainer.data.events.summary import describe_events
from cofactor_trainer.errors import InputError


def events_from_ratings(
    ratings: RatingsDataset, threshold: float, settings: EventSettings | None = None
) -> RatingsDataset:
    """Make an event of every rating from a threshold on; the other ratings are negative events.

    Raises:
        InputError: no rating reaches the threshold.
    """
    is_positive = ratings.ratings >= np.float32(threshold)
    n_positive = int(is_positive.sum())
    if not n_positive:
        raise InputError(
            f"--positive-from is {threshold:g}, but the ratings of {ratings.name} go from {ratings.ratings.min():g} to "
            f"{ratings.ratings.max():g}: no rating would be an event"
        )
    newest = None if ratings.timestamps is None else float(ratings.timestamps.max())
    feedback = (settings or EventSettings()).describe((EventType("", 1.0, n_events=n_positive),), newest)
    events = replace(
        ratings,
        ratings=is_positive.astype(np.float32),
        rating_min=0.0,
        rating_max=0.0,
        events=feedback,
    )
    note = (
        f"events: {n_positive:,} of {ratings.n_ratings:,} ratings, those from {threshold:g} on; the items of the "
        "others are not recommended"
    )
    return replace(events, notes=(*ratings.notes, note, *describe_events(events, {})))
