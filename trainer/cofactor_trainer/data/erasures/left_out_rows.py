"""Leave the rows of erased users out of a data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.erasures.records import Erasures
from cofactor_trainer.data.events.used_rows import UsedRows
from cofactor_trainer.errors import InputError


def leave_out_erased(dataset: RatingsDataset, erasures: Erasures, *, scale_is_given: bool) -> RatingsDataset:
    """Leave out the rows of erased users, and the users and items that have no others.

    scale_is_given: False if the scale of the ratings is the range that they span; it is then found anew.

    Raises:
        InputError: fewer than two users or items remain.
    """
    is_left_out = erasures.left_out(dataset)
    n_left_out = int(is_left_out.sum())
    applied = erasures.describe(n_left_out)
    note = f"erasures: {applied.record_count:,} recorded, {n_left_out:,} rows of erased users left out"
    if n_left_out:
        rows = dataset.select_ratings(~is_left_out)
        dataset = UsedRows.of(rows).select(rows)
        if min(dataset.n_users, dataset.n_items) < 2:
            raise InputError("without the erased users, fewer than two users or items remain: at least two are needed")
        dataset = _with_new_ranges(dataset, scale_is_given)
    return replace(dataset, erasures=applied, notes=(*dataset.notes, note))


def _with_new_ranges(dataset: RatingsDataset, scale_is_given: bool) -> RatingsDataset:
    """Find the scale of the ratings and the newest time of the events anew: an erased row may have set them."""
    if dataset.events is not None and dataset.timestamps is not None:
        newest = float(dataset.timestamps.max())
        dataset = replace(dataset, events=replace(dataset.events, newest_time=newest))
    if scale_is_given:
        return dataset
    if dataset.given_ratings is not None:
        low, high = float(np.nanmin(dataset.given_ratings)), float(np.nanmax(dataset.given_ratings))
        return replace(dataset, given_scale=(low, high))
    if dataset.events is None:
        low, high = float(dataset.ratings.min()), float(dataset.ratings.max())
        return replace(dataset, rating_min=low, rating_max=high)
    return dataset
