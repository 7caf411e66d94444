"""Hold out the newest of what a version does not know: anything else it has seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, RatingsDataset
from cofactor_trainer.data.duplicates import pair_numbers, without_duplicates
from cofactor_trainer.data.events.splits import split_events
from cofactor_trainer.data.events.weights import weigh_events
from cofactor_trainer.data.splits import Split, split_by_mask
from cofactor_trainer.errors import InputError
from cofactor_trainer.refresh.changes import Changes, find_changes
from cofactor_trainer.refresh.starting_version import StartingVersion
from cofactor_trainer.refresh.warm_start import check_fits


@dataclass(frozen=True)
class NewData:
    """A data set beside the version that is to learn it.

    Attributes:
        table: the rows as they were read; of ratings, the last one of every pair of a user and an item.
        dataset: the same, with events weighed.
        changes: what the version does not know.
    """

    table: RatingsDataset
    dataset: RatingsDataset
    changes: Changes

    @property
    def has_times(self) -> bool:
        """True if the newest rows are known."""
        return self.table.timestamps is not None and self.table.timestamps_problem is None

    def hold_out(self, fraction: float, seed: int) -> Split:
        """Hold out a fraction of the new pairs: the newest ones, or without times a random choice.

        Raises:
            InputError: a part would be empty.
        """
        mask = self._mask(fraction, seed)
        if self.table.events is None:
            return split_by_mask(self.table, mask)
        return split_events(self.table, lambda _: mask, by_pair=False)

    def _mask(self, fraction: float, seed: int) -> BoolArray:
        """Mark the rows of the table to hold out, (n_rows,)."""
        table, added = self.table, self.changes.is_added
        n_items = table.n_items
        new = pair_numbers(self.changes.user_rows[added], self.changes.item_rows[added].astype(np.int32), n_items)
        candidates = np.flatnonzero(np.isin(pair_numbers(table.user_rows, table.item_rows, n_items), new))
        if self.has_times:
            assert table.timestamps is not None
            candidates = candidates[np.argsort(table.timestamps[candidates], kind="stable")]
        else:
            candidates = np.random.RandomState(seed).permutation(candidates)
        mask = np.zeros(table.n_ratings, bool)
        mask[candidates[len(candidates) - round(fraction * len(candidates)) :]] = True
        return mask


def compare(start: StartingVersion, table: RatingsDataset) -> NewData:
    """Find what is new in a data set, as `load_dataset` returns it.

    The scale of the ratings is that of the version, so that nothing depends on the lowest new rating.

    Raises:
        InputError: the version could not have learnt from such a data set.
    """
    if table.events is None:
        manifest = start.exported.manifest
        table = without_duplicates(table)
        check_fits(start, table)
        table = dataset = replace(table, rating_min=manifest.rating_min, rating_max=manifest.rating_max)
    else:
        dataset = weigh_events(table)
        check_fits(start, dataset)
    return NewData(table, dataset, find_changes(start, dataset))


def require_new_pairs(new: NewData) -> None:
    """Raise `InputError` if a version knows all of a data set, so that there is nothing to learn."""
    if new.changes.is_empty:
        raise InputError("the version knows all of this data already, so there is nothing to learn: add new data")
