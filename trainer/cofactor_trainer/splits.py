"""Which ratings train and which validate.

A split rebuilds the vocabulary from the train rows alone: a user or an item that only validates is unknown to the
model, row n_users or n_items, as it would be when the model serves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cofactor_trainer.dataset import Catalogue, Int64Array, RatingsDataset
from cofactor_trainer.datasets import BoolArray, select_ratings
from cofactor_trainer.errors import InputError
from cofactor_trainer.vocabulary import compact_rows


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


def _select_items(catalogue: Catalogue, rows: Int64Array) -> Catalogue:
    return Catalogue(
        item_ids=[catalogue.item_ids[row] for row in rows],
        titles=[catalogue.titles[row] for row in rows],
        genres=[catalogue.genres[row] for row in rows],
        release_years=catalogue.release_years[rows],
    )
