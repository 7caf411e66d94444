"""Take the ratings out of a table of ratings and events: they train the part of a version that predicts ratings."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.duplicates import last_of_each_pair
from cofactor_trainer.errors import InputError

if TYPE_CHECKING:  # imports pandas, and the flags need this module
    from cofactor_trainer.data.dataset_builder import RatingScale

logger = logging.getLogger(__name__)


def rated_rows(events: RatingsDataset) -> RatingsDataset | None:
    """Return the ratings of a table of ratings and events, with its users and items; None for other tables."""
    if events.given_ratings is None:
        return events.rated
    has_rating = ~np.isnan(events.given_ratings)
    low, high = events.given_scale
    rows = replace(events, ratings=events.given_ratings, events=None, given_ratings=None, dismissed=None)
    return replace(rows.select_ratings(has_rating), rating_min=low, rating_max=high)


def with_scale(events: RatingsDataset, scale: RatingScale | None, source: Path | None) -> RatingsDataset:
    """Add the scale of the ratings to a table of ratings and events, by default the range that they span.

    If a user rated an item several times, only the latest rating stays.

    Raises:
        InputError: there is no rating, all ratings are equal, or a rating is outside the scale.
    """
    assert events.given_ratings is not None
    if np.isnan(events.given_ratings).all():
        raise InputError("no row has a rating: pass --feedback events to learn from events only", source)
    low, high = float(np.nanmin(events.given_ratings)), float(np.nanmax(events.given_ratings))
    if low == high:
        raise InputError(
            f"all ratings are {low:g}, so there is nothing to learn from them as ratings: pass --feedback events to "
            "learn from events only",
            source,
        )
    events = _with_latest_ratings(events)
    if scale is None:
        return replace(events, given_scale=(low, high))
    # Rounded to single precision, as the ratings are.
    given = float(np.float32(scale.low)), float(np.float32(scale.high))
    if low < given[0] or high > given[1]:
        raise InputError(
            f"the ratings go from {low:g} to {high:g}, outside the scale of {given[0]:g} to {given[1]:g}: pass the "
            "right one with --scale",
            source,
        )
    return replace(events, given_scale=given)


def _with_latest_ratings(events: RatingsDataset) -> RatingsDataset:
    """Remove all ratings of a user and an item but the latest; without times, or at equal ones, the last."""
    assert events.given_ratings is not None
    rows = np.flatnonzero(~np.isnan(events.given_ratings))
    times = None if events.timestamps is None else events.timestamps[rows]
    is_last = last_of_each_pair(events.user_rows[rows], events.item_rows[rows], events.n_items, times)
    if is_last is None:
        return events
    logger.warning("dropped %d ratings, because the same user rated the same item again", int((~is_last).sum()))
    given = events.given_ratings.copy()
    given[rows[~is_last]] = np.nan
    return replace(events, given_ratings=given)
