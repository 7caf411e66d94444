"""Weigh the latest items of a history more, by their order and not by their age."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor_trainer.data.dataset import Int64Array, RatingsDataset


def with_recency(pairs: RatingsDataset) -> RatingsDataset:
    """Multiply the weight of every pair by 1 + boost * decay^place, and keep the sum of each user's weights.

    The place of an item is the number of items that the user has newer events of. A data set whose events have no boost
    or no times stays as it is.
    """
    feedback = pairs.events
    if feedback is None or not feedback.recency_boost or pairs.timestamps is None:
        return pairs
    factors = 1 + feedback.recency_boost * feedback.recency_decay ** newer_items(pairs)
    weights = pairs.ratings.astype(np.float64)
    n_users = pairs.n_users + 1
    before, after = (np.bincount(pairs.user_rows, of, n_users) for of in (weights, weights * factors))
    scale = before / np.where(after > 0, after, 1)
    return replace(pairs, ratings=(weights * factors * scale[pairs.user_rows]).astype(np.float32))


def newer_items(pairs: RatingsDataset) -> Int64Array:
    """Count the pairs of the same user that are newer than each pair, (n_ratings,)."""
    assert pairs.timestamps is not None
    order = np.lexsort((-pairs.timestamps, pairs.user_rows))
    users, times = pairs.user_rows[order], pairs.timestamps[order]
    positions = np.arange(len(order))
    is_new_user = np.r_[True, users[1:] != users[:-1]] if len(order) else np.zeros(0, bool)
    is_older = is_new_user | np.r_[True, times[1:] != times[:-1]] if len(order) else is_new_user
    first_of_user = np.maximum.accumulate(np.where(is_new_user, positions, 0))
    first_of_time = np.maximum.accumulate(np.where(is_older, positions, 0))
    places = np.empty(len(order), np.int64)
    places[order] = first_of_time - first_of_user
    return places
