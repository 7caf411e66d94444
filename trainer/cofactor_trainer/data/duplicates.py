"""Find users who rated the same item more than once."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Int64Array, RatingsDataset, RowArray, TimeArray


def without_duplicates(dataset: RatingsDataset) -> RatingsDataset:
    """Keep only the latest rating of every (user, item) pair; without times, or at equal ones, the last."""
    is_last = last_of_each_pair(dataset.user_rows, dataset.item_rows, dataset.n_items, dataset.timestamps)
    return dataset if is_last is None else dataset.select_ratings(is_last)


def last_of_each_pair(
    user_rows: RowArray | Int64Array,
    item_rows: RowArray,
    n_items: int,
    timestamps: TimeArray | None = None,
) -> BoolArray | None:
    """Mark the latest rating of every (user, item) pair, (n_ratings,); return None if every pair occurs once.

    Without timestamps (n_ratings,), or at equal ones, the last rating counts.
    """
    pairs = pair_numbers(user_rows, item_rows, n_items)
    # Sort in place first: an argsort would double the memory, and most data has no duplicates.
    pairs.sort()
    if (pairs[1:] != pairs[:-1]).all():
        return None
    pairs = pair_numbers(user_rows, item_rows, n_items)
    order = np.argsort(pairs, kind="stable") if timestamps is None else np.lexsort((timestamps, pairs))
    pairs = pairs[order]
    is_last = np.empty(len(order), dtype=bool)
    is_last[order] = np.append(pairs[1:] != pairs[:-1], True)
    return is_last


def pair_numbers(user_rows: RowArray | Int64Array, item_rows: RowArray, n_items: int) -> Int64Array:
    """Number every (user, item) pair uniquely, (n_ratings,)."""
    numbers = user_rows.astype(np.int64)
    numbers *= n_items + 1
    numbers += item_rows
    return numbers
