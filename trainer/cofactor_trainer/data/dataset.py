"""Hold a table of ratings in memory, with ids replaced by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.item_attributes import NO_ATTRIBUTES, ItemAttributes

if TYPE_CHECKING:
    import pandas as pd

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# User rows or item rows. 4 bytes can number 2 billion of them; cast to 8 bytes before you multiply rows.
RowArray = npt.NDArray[np.int32]
# Seconds since 1970. Whole ones may have 4 bytes: only compare them, or cast them first.
TimeArray = Float64Array | Int64Array | npt.NDArray[np.int32]

_ROWS_PER_COUNT = 1 << 20


@dataclass(frozen=True)
class Catalogue:
    """Descriptions of the items; entry i of every field describes item row i.

    Attributes:
        item_ids: unique, sorted by their UTF-8 bytes.
        titles: an empty string where the title is unknown.
        genres: the genres of each item.
        release_years: (n_items,), 0 where the year is unknown.
        attributes: further typed attributes, such as brand and price; none by default.
    """

    item_ids: Sequence[str]
    titles: Sequence[str]
    genres: Sequence[tuple[str, ...]]
    release_years: Int64Array
    attributes: ItemAttributes = NO_ATTRIBUTES

    def select(self, rows: Int64Array) -> Catalogue:
        """Return the descriptions of some of the items: rows (m,)."""
        return Catalogue(
            item_ids=[self.item_ids[row] for row in rows],
            titles=[self.titles[row] for row in rows],
            genres=[self.genres[row] for row in rows],
            release_years=self.release_years[rows],
            attributes=self.attributes.select(rows),
        )


@dataclass(frozen=True)
class Pairs:
    """Pairs of a user and an item: user_rows (n,), item_rows (n,)."""

    user_rows: RowArray
    item_rows: RowArray


@dataclass(frozen=True)
class AppliedErasures:
    """The list of erased users whose rows were left out.

    Attributes:
        record_count: number of erasures.
        records_sha256: names just these erasures; docs/model-format.md says how.
        newest_erase_time: seconds since 1970; None without erasures.
        left_out_row_count: number of rows that were left out.
    """

    record_count: int
    records_sha256: str
    newest_erase_time: float | None
    left_out_row_count: int


@dataclass(frozen=True)
class RatingsDataset:
    """Ratings with their users and items, or events, or weights of items for users that were made from events.

    Events have their weight times their count in the place of the rating, 0 for a negative event.

    Attributes:
        name: a name to print, such as "MovieLens ml-latest-small".
        user_ids: unique, sorted by their UTF-8 bytes; user row i is user_ids[i].
        catalogue: the items; row len(catalogue.item_ids) stands for an unknown item.
        user_rows: (n_ratings,), 0 to n_users; n_users stands for an unknown user.
        item_rows: (n_ratings,), 0 to n_items.
        ratings: (n_ratings,).
        timestamps: (n_ratings,) seconds since 1970, or None.
        timestamps_problem: why the times of the ratings cannot be read; None if they can, or if there are none.
        notes: lines to print about how the files were read.
        held_out: (n_ratings,), True where a predefined split holds a rating out; None without such a split.
        held_out_by: the origin of a predefined split, such as "split u1 of MovieLens 100k"; "" without one.
        rating_min: lowest rating of the scale.
        rating_max: highest rating of the scale.
        profiles: one row per user in the order of user_ids, one column per sign-up answer, or None.
        events: how events become weights; None for ratings. The scale of events is 0 to 0.
        given_ratings: (n_ratings,), of a table of ratings and events that is not weighed: the rating of every row, NaN
            where it has none. None for other tables.
        given_scale: the lowest and highest rating of such a table.
        rated: of events that are weighed, the ratings that came with them, with the same users and items; or None.
        dismissed: items that users do not want, or None. They are no recommendations.
        unrated: described items without ratings, or None. Training does not know them; the export gives them a row by
            their attributes.
        erasures: the erasures that were taken into account; None without a list of them.
    """

    name: str
    user_ids: Sequence[str]
    catalogue: Catalogue
    user_rows: RowArray
    item_rows: RowArray
    ratings: Float32Array
    timestamps: TimeArray | None
    rating_min: float
    rating_max: float
    profiles: pd.DataFrame | None = None
    timestamps_problem: str | None = None
    notes: tuple[str, ...] = ()
    held_out: BoolArray | None = None
    held_out_by: str = ""
    events: EventFeedback | None = None
    dismissed: Pairs | None = None
    given_ratings: Float32Array | None = None
    given_scale: tuple[float, float] = (0.0, 0.0)
    rated: RatingsDataset | None = None
    unrated: Catalogue | None = None
    erasures: AppliedErasures | None = None

    @property
    def n_users(self) -> int:
        """Number of users, without the unknown user."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items, without the unknown item."""
        return len(self.catalogue.item_ids)

    @property
    def n_ratings(self) -> int:
        """Number of ratings."""
        return len(self.ratings)

    def item_rating_counts(self) -> Int64Array:
        """Count the ratings of each item, (n_items,)."""
        return row_counts(self.item_rows, self.n_items + 1)[: self.n_items]

    def select_ratings(self, selected: BoolArray | Int64Array | RowArray) -> RatingsDataset:
        """Return a dataset of the same users and items with only the selected ratings.

        selected is a mask (n_ratings,) or the positions of the ratings to keep.
        """
        return replace(
            self,
            user_rows=self.user_rows[selected],
            item_rows=self.item_rows[selected],
            ratings=self.ratings[selected],
            timestamps=None if self.timestamps is None else self.timestamps[selected],
            held_out=None if self.held_out is None else self.held_out[selected],
            given_ratings=None if self.given_ratings is None else self.given_ratings[selected],
        )


def row_counts(rows: RowArray, n_rows: int) -> Int64Array:
    """Count how often each row below n_rows occurs, (n_rows,)."""
    counts = np.zeros(n_rows, np.int64)
    # In parts, because bincount first copies its input to 8 bytes a row.
    for start in range(0, len(rows), _ROWS_PER_COUNT):
        counts += np.bincount(rows[start : start + _ROWS_PER_COUNT], minlength=n_rows)
    return counts
