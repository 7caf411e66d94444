"""Find what a data set has that a version does not know, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Float64Array, Int64Array, RatingsDataset, RowArray
from cofactor_trainer.data.duplicates import pair_numbers
from cofactor_trainer.data.splits import rows_by_id
from cofactor_trainer.refresh.starting_version import StartingVersion

# Weights of events are sums in single precision.
_SAME = 1e-5


@dataclass(frozen=True)
class Changes:
    """The pairs of a user and an item whose rating, or weight of events, is not what a version knows.

    Rows are those of the data set. Pairs of users or items that the data set lacks are counted only.

    Attributes:
        user_rows: (n,).
        item_rows: (n,).
        before: (n,) value in the version, NaN where it does not know the pair.
        after: (n,) value in the data set, NaN where it lacks the pair.
        old_user_rows: (n_users + 1,) row in the version of every user; its unknown row for new users.
        old_item_rows: (n_items + 1,), likewise.
        is_new_user: (n_users,).
        is_new_item: (n_items,).
        n_removed: number of pairs of the version that the data set lacks.
    """

    user_rows: Int64Array
    item_rows: Int64Array
    before: Float64Array
    after: Float64Array
    old_user_rows: RowArray
    old_item_rows: RowArray
    is_new_user: BoolArray
    is_new_item: BoolArray
    n_removed: int

    @property
    def is_added(self) -> BoolArray:
        """Mark the pairs that the version does not know, (n,)."""
        return np.isnan(self.before)

    @property
    def n_added(self) -> int:
        """Number of pairs that the version does not know."""
        return int(self.is_added.sum())

    @property
    def n_changed(self) -> int:
        """Number of pairs that both have, with different values."""
        return int((~np.isnan(self.before) & ~np.isnan(self.after)).sum())

    @property
    def is_empty(self) -> bool:
        """True if the data set has nothing that the version does not know, and lacks nothing."""
        return not len(self.before) and not self.n_removed

    def describe(self, noun: str) -> str:
        """Say in one line what is new."""
        return (
            f"{self.n_added:,} new {noun}, {self.n_changed:,} changed, {self.n_removed:,} removed; "
            f"{int(self.is_new_user.sum()):,} new users, {int(self.is_new_item.sum()):,} new items"
        )


def find_changes(start: StartingVersion, dataset: RatingsDataset) -> Changes:
    """Compare a data set, in which every pair of a user and an item occurs once, with what a version knows."""
    old_user_rows = rows_by_id(dataset.user_ids, start.user_ids)
    old_item_rows = rows_by_id(dataset.catalogue.item_ids, start.item_ids)
    known, before = _known_pairs(start, dataset)
    numbers = pair_numbers(dataset.user_rows, dataset.item_rows, dataset.n_items)
    all_numbers = np.union1d(known, numbers)
    values = np.full((2, len(all_numbers)), np.nan)
    values[0, np.searchsorted(all_numbers, known)] = before
    values[1, np.searchsorted(all_numbers, numbers)] = dataset.ratings
    is_same = np.isclose(values[0], values[1], rtol=_SAME, atol=0)
    differ = np.flatnonzero(~is_same)
    in_both = ~np.isnan(values).any(0)
    return Changes(
        user_rows=all_numbers[differ] // (dataset.n_items + 1),
        item_rows=all_numbers[differ] % (dataset.n_items + 1),
        before=values[0, differ],
        after=values[1, differ],
        old_user_rows=old_user_rows,
        old_item_rows=old_item_rows,
        is_new_user=old_user_rows[:-1] == start.n_users,
        is_new_item=old_item_rows[:-1] == start.n_items,
        n_removed=int((start.values != 0).sum() if start.mean_weight else len(start.values)) - int(in_both.sum()),
    )


def _known_pairs(start: StartingVersion, dataset: RatingsDataset) -> tuple[Int64Array, Float64Array]:
    """Return the numbers in the data set of the pairs that a version knows, and their values.

    Items that a user does not want have the weight 0: nothing was learnt from them.
    """
    user_rows = rows_by_id(start.user_ids, dataset.user_ids)[start.user_rows]
    item_rows = rows_by_id(start.item_ids, dataset.catalogue.item_ids)[start.item_rows]
    kept = (user_rows < dataset.n_users) & (item_rows < dataset.n_items)
    if start.mean_weight:
        kept &= start.values != 0
    return pair_numbers(user_rows[kept], item_rows[kept], dataset.n_items), start.values[kept].astype(np.float64)
