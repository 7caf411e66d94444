"""A table of ratings in memory, ids already replaced by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# Rows of users and items: 4 bytes number more of either than there are people. A product of rows needs 8.
RowArray = npt.NDArray[np.int32]

_ROWS_COUNTED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Catalogue:
    """What is known of the items; row i of every field is item row i.

    Attributes:
        item_ids: in the order of their UTF-8 bytes, unique.
        titles: empty string where the data has none.
        genres: each item's genres.
        release_years: (n_items,), 0 where not known.
    """

    item_ids: Sequence[str]
    titles: Sequence[str]
    genres: Sequence[tuple[str, ...]]
    release_years: Int64Array


@dataclass(frozen=True)
class RatingsDataset:
    """Ratings, and the users and items they are about.

    Attributes:
        name: for people, such as "MovieLens ml-latest-small".
        user_ids: in the order of their UTF-8 bytes, unique; user row i is user_ids[i].
        catalogue: the items; row len(catalogue.item_ids) stands for an item that is not among them.
        user_rows: (n_ratings,), 0 to n_users; n_users stands for a user who is not among user_ids.
        item_rows: (n_ratings,), 0 to n_items.
        ratings: (n_ratings,).
        timestamps: (n_ratings,) seconds since 1970, or None.
        rating_min: lowest rating of the scale.
        rating_max: highest rating of the scale.
        profiles: one row per user in the order of user_ids, one column per sign-up answer, or None.
    """

    name: str
    user_ids: Sequence[str]
    catalogue: Catalogue
    user_rows: RowArray
    item_rows: RowArray
    ratings: Float32Array
    timestamps: Int64Array | None
    rating_min: float
    rating_max: float
    profiles: pd.DataFrame | None = None

    @property
    def n_users(self) -> int:
        """Users, the unknown one not counted."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Items, the unknown one not counted."""
        return len(self.catalogue.item_ids)

    @property
    def n_ratings(self) -> int:
        """Ratings."""
        return len(self.ratings)

    def item_rating_counts(self) -> Int64Array:
        """Ratings per item, (n_items,)."""
        return row_counts(self.item_rows, self.n_items + 1)[: self.n_items]


def row_counts(rows: RowArray, n_rows: int) -> Int64Array:
    """How often each row below n_rows occurs, (n_rows,); by parts, for numpy counts a copy of 8 bytes a row."""
    counts = np.zeros(n_rows, np.int64)
    for start in range(0, len(rows), _ROWS_COUNTED_AT_ONCE):
        counts += np.bincount(rows[start : start + _ROWS_COUNTED_AT_ONCE], minlength=n_rows)
    return counts
