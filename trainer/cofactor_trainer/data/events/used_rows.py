"""Leave out the users and items of a table of ratings and events that have no ratings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cofactor_trainer.data.dataset import Int64Array, RatingsDataset, RowArray
from cofactor_trainer.data.id_index import drop_unused_rows


@dataclass(frozen=True)
class UsedRows:
    """Users and items that have ratings.

    Attributes:
        users: (m,) rows of the users, ascending.
        items: (l,) rows of the items, ascending.
        new_user_rows: (n_users + 1,) row among these of every user; m for users without ratings.
        new_item_rows: (n_items + 1,), likewise.
    """

    users: Int64Array
    items: Int64Array
    new_user_rows: RowArray
    new_item_rows: RowArray

    @classmethod
    def of(cls, dataset: RatingsDataset) -> UsedRows:
        """Find the users and items of a dataset that have ratings."""
        users, new_user_rows = drop_unused_rows(dataset.user_rows, dataset.n_users)
        items, new_item_rows = drop_unused_rows(dataset.item_rows, dataset.n_items)
        return cls(users, items, new_user_rows, new_item_rows)

    def select(self, dataset: RatingsDataset) -> RatingsDataset:
        """Leave the other users and items out of a dataset; its ratings of them become those of unknown ones."""
        return replace(
            dataset,
            user_ids=[dataset.user_ids[row] for row in self.users],
            catalogue=dataset.catalogue.select(self.items),
            user_rows=self.new_user_rows[dataset.user_rows],
            item_rows=self.new_item_rows[dataset.item_rows],
            profiles=None if dataset.profiles is None else dataset.profiles.iloc[self.users].reset_index(drop=True),
        )
