"""Which ratings train and which validate.

A split rebuilds the vocabulary from the train rows alone: a user or an item that only validates is unknown to the
model, row n_users or n_items, as it would be when the model serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import BoolArray, Catalogue, Int64Array, RatingsDataset, row_counts
from cofactor_trainer.data.dataset_builder import select_ratings
from cofactor_trainer.data.id_index import compact_rows
from cofactor_trainer.errors import InputError


@dataclass(frozen=True)
class Split:
    """Ratings to train on and ratings to judge by; both use the rows of the train part."""

    train: RatingsDataset
    validation: RatingsDataset


def random_split(dataset: RatingsDataset, fraction: float = 0.2, seed: int = 42) -> Split:
    """A random fraction of the ratings validates: the protocol of every published figure.

    Rows in file order, the first ``fraction`` of ``RandomState(seed).permutation(n_ratings)`` validates.
    """
    order = np.random.RandomState(seed).permutation(dataset.n_ratings)
    validates = np.zeros(dataset.n_ratings, dtype=bool)
    validates[order[: int(dataset.n_ratings * fraction)]] = True
    return split_by_mask(dataset, validates)


def per_user_split(dataset: RatingsDataset, fraction: float = 0.2, seed: int = 42) -> Split:
    """A random fraction of every user's ratings validates, rounded down."""
    return split_by_mask(dataset, _last_of_each_user(dataset, fraction, np.random.RandomState(seed).permutation))


def per_user_last_split(dataset: RatingsDataset, fraction: float = 0.2) -> Split:
    """The latest fraction of every user's ratings validates, rounded down; file order decides between equal times."""
    times = _timestamps(dataset)
    return split_by_mask(dataset, _last_of_each_user(dataset, fraction, lambda _: np.argsort(times, kind="stable")))


def time_split(dataset: RatingsDataset, fraction: float = 0.2) -> Split:
    """The latest fraction of all ratings validates, as if the model had been trained on the day before them."""
    order = np.argsort(_timestamps(dataset), kind="stable")
    validates = np.zeros(dataset.n_ratings, dtype=bool)
    validates[order[dataset.n_ratings - int(dataset.n_ratings * fraction) :]] = True
    return split_by_mask(dataset, validates)


def k_folds(dataset: RatingsDataset, n_folds: int, seed: int = 42) -> Iterator[Split]:
    """Every rating validates once: ``n_folds`` random parts, of which each validates in turn."""
    if not 2 <= n_folds <= dataset.n_ratings:
        raise InputError(
            f"{n_folds} folds: there must be at least 2, and not more than the {dataset.n_ratings} ratings"
        )
    fold = np.empty(dataset.n_ratings, dtype=np.int64)
    fold[np.random.RandomState(seed).permutation(dataset.n_ratings)] = np.arange(dataset.n_ratings) % n_folds
    return (split_by_mask(dataset, fold == number) for number in range(n_folds))


def split_by_mask(dataset: RatingsDataset, validates: BoolArray) -> Split:
    """Ratings where ``validates`` (n_ratings,) is true validate, the others train, both in file order."""
    if validates.all() or not validates.any():
        raise InputError(
            f"{dataset.n_ratings} ratings cannot be split: either no rating would train or none would validate; "
            "change the validation fraction"
        )
    user_rows, new_user_rows = compact_rows(dataset.user_rows[~validates], dataset.n_users)
    item_rows, new_item_rows = compact_rows(dataset.item_rows[~validates], dataset.n_items)
    with_train_rows = replace(
        dataset,
        user_ids=[dataset.user_ids[row] for row in user_rows],
        catalogue=_select_items(dataset.catalogue, item_rows),
        user_rows=new_user_rows[dataset.user_rows],
        item_rows=new_item_rows[dataset.item_rows],
        profiles=None if dataset.profiles is None else dataset.profiles.iloc[user_rows].reset_index(drop=True),
    )
    return Split(
        train=select_ratings(with_train_rows, ~validates), validation=select_ratings(with_train_rows, validates)
    )


def _last_of_each_user(
    dataset: RatingsDataset, fraction: float, order_of: Callable[[int], npt.NDArray[np.int_]]
) -> BoolArray:
    """Mark the last ``fraction`` of each user's ratings in the order that ``order_of(n_ratings)`` gives."""
    order = order_of(dataset.n_ratings)
    by_user = order[np.argsort(dataset.user_rows[order], kind="stable")]
    counts = row_counts(dataset.user_rows, dataset.n_users + 1)
    place_from_end = np.repeat(np.cumsum(counts), counts) - np.arange(dataset.n_ratings)
    validates = np.zeros(dataset.n_ratings, dtype=bool)
    validates[by_user] = place_from_end <= np.repeat((counts * fraction).astype(np.int64), counts)
    return validates


def _timestamps(dataset: RatingsDataset) -> Int64Array:
    if dataset.timestamps is None:
        raise InputError(f"{dataset.name} has no timestamps: split at random, or name the column of the times")
    return dataset.timestamps


def _select_items(catalogue: Catalogue, rows: Int64Array) -> Catalogue:
    return Catalogue(
        item_ids=[catalogue.item_ids[row] for row in rows],
        titles=[catalogue.titles[row] for row in rows],
        genres=[catalogue.genres[row] for row in rows],
        release_years=catalogue.release_years[rows],
    )
