"""Split ratings into a train part and a validation part.

A split keeps only the users and items of the train part. A user or an item that occurs only in the validation part
is unknown to the model (row n_users or n_items), as a new one would be when the model serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import (
    BoolArray,
    Pairs,
    RatingsDataset,
    RowArray,
    TimeArray,
    row_counts,
)
from cofactor_trainer.data.id_index import drop_unused_rows
from cofactor_trainer.errors import InputError


@dataclass(frozen=True)
class Split:
    """Ratings to train on and ratings to evaluate with; both number users and items by the train part."""

    train: RatingsDataset
    validation: RatingsDataset

    def of_ratings(self) -> Split:
        """Return the split of the ratings alone, of a table of ratings and events; other splits stay as they are."""
        if self.train.rated is None or self.validation.rated is None:
            return self
        return Split(self.train.rated, self.validation.rated)


def random_split(dataset: RatingsDataset, fraction: float = 0.2, seed: int = 42) -> Split:
    """Hold out a random fraction of all ratings: the protocol of every published figure."""
    return split_by_mask(dataset, random_mask(dataset, fraction, seed))


def random_mask(dataset: RatingsDataset, fraction: float, seed: int) -> BoolArray:
    """Mark a random fraction of all ratings, (n_ratings,).

    It is the first ``fraction`` of ``RandomState(seed).permutation(n_ratings)``; ratings are in file order.
    """
    order = np.random.RandomState(seed).permutation(dataset.n_ratings)
    validates = np.zeros(dataset.n_ratings, dtype=bool)
    validates[order[: int(dataset.n_ratings * fraction)]] = True
    return validates


def per_user_split(dataset: RatingsDataset, fraction: float = 0.2, seed: int = 42) -> Split:
    """Hold out a random fraction of each user's ratings, rounded down."""
    return split_by_mask(dataset, per_user_mask(dataset, fraction, seed))


def per_user_mask(dataset: RatingsDataset, fraction: float, seed: int) -> BoolArray:
    """Mark a random fraction of each user's ratings, rounded down, (n_ratings,)."""
    return _last_of_each_user(dataset, fraction, np.random.RandomState(seed).permutation)


def per_user_last_split(dataset: RatingsDataset, fraction: float = 0.2) -> Split:
    """Hold out the latest fraction of each user's ratings, rounded down; equal times count in file order."""
    return split_by_mask(dataset, per_user_last_mask(dataset, fraction))


def per_user_last_mask(dataset: RatingsDataset, fraction: float) -> BoolArray:
    """Mark the latest fraction of each user's ratings, rounded down, (n_ratings,)."""
    times = _timestamps(dataset)
    return _last_of_each_user(dataset, fraction, lambda _: np.argsort(times, kind="stable"))


def last_mask(dataset: RatingsDataset) -> BoolArray:
    """Mark the latest rating of every user who has at least two, (n_ratings,)."""
    order = np.argsort(_timestamps(dataset), kind="stable")
    by_user = order[np.argsort(dataset.user_rows[order], kind="stable")]
    counts = row_counts(dataset.user_rows, dataset.n_users + 1)
    validates = np.zeros(dataset.n_ratings, dtype=bool)
    validates[by_user[np.cumsum(counts)[counts > 1] - 1]] = True
    return validates


def last_split(dataset: RatingsDataset) -> Split:
    """Hold out the latest rating of every user who has at least two."""
    return split_by_mask(dataset, last_mask(dataset))


def time_split(dataset: RatingsDataset, fraction: float = 0.2) -> Split:
    """Hold out the latest fraction of all ratings, as if the model had been trained just before them."""
    return split_by_mask(dataset, time_mask(dataset, fraction))


def time_mask(dataset: RatingsDataset, fraction: float) -> BoolArray:
    """Mark the latest fraction of all ratings, (n_ratings,)."""
    order = np.argsort(_timestamps(dataset), kind="stable")
    validates = np.zeros(dataset.n_ratings, dtype=bool)
    validates[order[dataset.n_ratings - int(dataset.n_ratings * fraction) :]] = True
    return validates


def predefined_split(dataset: RatingsDataset) -> Split:
    """Hold out the ratings that the files of the dataset say."""
    return split_by_mask(dataset, predefined_mask(dataset))


def predefined_mask(dataset: RatingsDataset) -> BoolArray:
    """Return the mask of the ratings that the files of the dataset hold out, (n_ratings,)."""
    held_out = dataset.held_out
    if held_out is None:
        raise InputError(
            f"{dataset.name} says of no rating that it is held out: name the file of the held-out ratings with "
            "--validation-ratings, the column of the parts with --split-column, or a split of MovieLens with "
            "--split-name"
        )
    if held_out.all() or not held_out.any():
        part = "to train on" if held_out.all() else "held out"
        raise InputError(f"{dataset.name} has no ratings {part}, by {dataset.held_out_by}: correct the split")
    return held_out


def k_folds(dataset: RatingsDataset, n_folds: int, seed: int = 42) -> Iterator[Split]:
    """Divide the ratings into ``n_folds`` random parts and yield one split per part, which that part validates."""
    return (split_by_mask(dataset, mask) for mask in fold_masks(dataset, n_folds, seed))


def fold_masks(dataset: RatingsDataset, n_folds: int, seed: int) -> Iterator[BoolArray]:
    """Divide the ratings into ``n_folds`` random parts and yield the mask of each, (n_ratings,)."""
    if not 2 <= n_folds <= dataset.n_ratings:
        raise InputError(f"--folds is {n_folds}: it must be 2 to {dataset.n_ratings}, the number of ratings")
    fold = np.empty(dataset.n_ratings, dtype=np.int64)
    fold[np.random.RandomState(seed).permutation(dataset.n_ratings)] = np.arange(dataset.n_ratings) % n_folds
    return (fold == number for number in range(n_folds))


def in_rows_of(dataset: RatingsDataset, train: RatingsDataset) -> RatingsDataset:
    """Return all ratings of a dataset, with the users, items and rows of the train part of one of its splits."""
    user_rows = rows_by_id(dataset.user_ids, train.user_ids)
    item_rows = rows_by_id(dataset.catalogue.item_ids, train.catalogue.item_ids)
    dismissed, rated = dataset.dismissed, None
    if dataset.rated is not None and train.rated is not None:
        rated = in_rows_of(dataset.rated, train.rated)
    return replace(
        train,
        user_rows=user_rows[dataset.user_rows],
        item_rows=item_rows[dataset.item_rows],
        ratings=dataset.ratings,
        timestamps=dataset.timestamps,
        dismissed=dismissed and Pairs(user_rows[dismissed.user_rows], item_rows[dismissed.item_rows]),
        rated=rated,
    )


def rows_by_id(ids: Sequence[str], known_ids: Sequence[str]) -> RowArray:
    """Return the row of every id among the known ids, and last that of an unknown id: (len(ids) + 1,)."""
    rows = {known_id: row for row, known_id in enumerate(known_ids)}
    return np.array([*(rows.get(one_id, len(rows)) for one_id in ids), len(rows)], np.int32)


def split_by_mask(dataset: RatingsDataset, validates: BoolArray) -> Split:
    """Hold out the ratings where ``validates`` (n_ratings,) is true; both parts stay in file order.

    Events are split before they are weighed (`data.events.splits`): dismissed pairs do not follow here.
    """
    if validates.all() or not validates.any():
        raise InputError(
            f"{dataset.n_ratings} ratings cannot be split, because one part would be empty: change "
            "--validation-fraction"
        )
    used_users, new_user_rows = drop_unused_rows(dataset.user_rows[~validates], dataset.n_users)
    used_items, new_item_rows = drop_unused_rows(dataset.item_rows[~validates], dataset.n_items)
    renumbered = replace(
        dataset,
        user_ids=[dataset.user_ids[row] for row in used_users],
        catalogue=dataset.catalogue.select(used_items),
        user_rows=new_user_rows[dataset.user_rows],
        item_rows=new_item_rows[dataset.item_rows],
        profiles=None if dataset.profiles is None else dataset.profiles.iloc[used_users].reset_index(drop=True),
        held_out=None,
    )
    return Split(train=renumbered.select_ratings(~validates), validation=renumbered.select_ratings(validates))


def _last_of_each_user(
    dataset: RatingsDataset, fraction: float, order_of: Callable[[int], npt.NDArray[np.int_]]
) -> BoolArray:
    """Mark the last ``fraction`` of each user's ratings in the order that ``order_of(n_ratings)`` returns."""
    order = order_of(dataset.n_ratings)
    by_user = order[np.argsort(dataset.user_rows[order], kind="stable")]
    counts = row_counts(dataset.user_rows, dataset.n_users + 1)
    position_from_end = np.repeat(np.cumsum(counts), counts) - np.arange(dataset.n_ratings)
    validates = np.zeros(dataset.n_ratings, dtype=bool)
    validates[by_user] = position_from_end <= np.repeat((counts * fraction).astype(np.int64), counts)
    return validates


def _timestamps(dataset: RatingsDataset) -> TimeArray:
    if dataset.timestamps_problem is not None:
        raise InputError(f"this split needs times, but {dataset.timestamps_problem}: mend it, or use --split random")
    if dataset.timestamps is None:
        raise InputError(f"{dataset.name} has no timestamps: use --split random, or name their column with --columns")
    return dataset.timestamps
