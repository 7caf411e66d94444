"""From columns of ratings, a block at a time, to a checked `RatingsDataset`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.dataset import BoolArray, Catalogue, Float32Array, Int64Array, RatingsDataset, RowArray
from cofactor_trainer.data.id_index import IdCollector
from cofactor_trainer.errors import InputError

Number = TypeVar("Number", bound=np.generic)

logger = logging.getLogger(__name__)

_TITLE_YEAR = re.compile(r"\((\d{4})(?:[-\u2013]\d{0,4})?\)\s*$")


@dataclass(frozen=True)
class RatingsBlock:
    """Some consecutive ratings as read.

    Attributes:
        user_ids: (n,) strings, dictionary encoded.
        item_ids: (n,) strings, dictionary encoded.
        ratings: (n,) finite.
        timestamps: (n,) seconds since 1970, or None.
    """

    user_ids: pa.DictionaryArray
    item_ids: pa.DictionaryArray
    ratings: Float32Array
    timestamps: Int64Array | None


@dataclass(frozen=True)
class ItemDescription:
    """What a table of items says of one of them."""

    title: str = ""
    genres: tuple[str, ...] = ()
    release_year: int = 0


@dataclass(frozen=True)
class Scale:
    """The lowest and the highest rating that a rating can be, where the ratings themselves do not say."""

    low: float
    high: float


class _Column(Generic[Number]):
    """A column that grows in place: parts joined at the end would take its memory twice, and leave holes in it."""

    def __init__(self, kind: type[Number]) -> None:
        self._values = np.empty(0, kind)
        self._length = 0

    def append(self, part: npt.NDArray[Number]) -> None:
        """Add a part at the end."""
        end = self._length + len(part)
        if end > len(self._values):
            self._values.resize(max(end, self._length * 5 // 4), refcheck=False)
        self._values[self._length : end] = part
        self._length = end

    def values(self) -> npt.NDArray[Number]:
        """All parts, (n,); nothing is added afterwards."""
        self._values.resize(self._length, refcheck=False)
        return self._values


@dataclass(frozen=True)
class _Columns:
    """All blocks together; timestamps (0,) where they have none."""

    user_ids: list[str]
    user_rows: RowArray
    item_ids: list[str]
    item_rows: RowArray
    ratings: Float32Array
    timestamps: Int64Array


def _collect(blocks: Iterable[RatingsBlock]) -> _Columns:
    users, items = IdCollector(), IdCollector()
    user_codes, item_codes = _Column(np.int32), _Column(np.int32)
    ratings, timestamps = _Column(np.float32), _Column(np.int64)
    for block in blocks:
        user_codes.append(_block_codes(users, block.user_ids))
        item_codes.append(_block_codes(items, block.item_ids))
        ratings.append(block.ratings)
        if block.timestamps is not None:
            timestamps.append(block.timestamps)
    # Arrow keeps the memory of blocks for blocks to come: hundreds of megabytes.
    pa.default_memory_pool().release_unused()
    user_ids, user_rows = users.sorted()
    item_ids, item_rows = items.sorted()
    return _Columns(
        user_ids,
        user_rows[user_codes.values()],
        item_ids,
        item_rows[item_codes.values()],
        ratings.values(),
        timestamps.values(),
    )


def build_dataset(
    name: str,
    blocks: Iterable[RatingsBlock],
    *,
    items: Mapping[str, ItemDescription] | None = None,
    profiles: pd.DataFrame | None = None,
    scale: Scale | None = None,
    source: Path | None = None,
    keep_duplicates: bool = False,
) -> RatingsDataset:
    """Collect blocks of ratings into a dataset.

    Args:
        name: for people.
        blocks: read one after another; only their rows are kept.
        items: descriptions by item id; items that nobody rated are left out.
        profiles: one row per user, indexed by user id.
        scale: the scale of the ratings; the range of the ratings themselves where None.
        source: file named in errors.
        keep_duplicates: keep every rating of a pair rated more than once, not only the last.

    Raises:
        InputError: no ratings, only one user or item, all ratings equal, or ratings off the scale.
    """
    columns = _collect(blocks)
    ratings = columns.ratings
    if not len(ratings):
        raise InputError("holds no ratings", source)
    dataset = RatingsDataset(
        name=name,
        user_ids=columns.user_ids,
        catalogue=describe_items(columns.item_ids, items or {}),
        user_rows=columns.user_rows,
        item_rows=columns.item_rows,
        ratings=ratings,
        timestamps=columns.timestamps if len(columns.timestamps) else None,
        # In single precision, as the ratings are: in double precision 0.7 is more than the rating 0.7.
        rating_min=float(ratings.min() if scale is None else np.float32(scale.low)),
        rating_max=float(ratings.max() if scale is None else np.float32(scale.high)),
        profiles=None if profiles is None else profiles.reindex(columns.user_ids).reset_index(drop=True),
    )
    _check(dataset, source)
    if keep_duplicates:
        return dataset
    distinct = without_duplicates(dataset)
    if distinct.n_ratings < dataset.n_ratings:
        n_left_out = dataset.n_ratings - distinct.n_ratings
        logger.warning("%d ratings left out: the same user rated the same item again later", n_left_out)
    return distinct


def without_duplicates(dataset: RatingsDataset) -> RatingsDataset:
    """Only the last rating of each user and item."""
    last = last_of_each_pair(dataset.user_rows, dataset.item_rows, dataset.n_items)
    return dataset if last is None else select_ratings(dataset, last)


def select_ratings(dataset: RatingsDataset, selected: BoolArray | Int64Array) -> RatingsDataset:
    """The same users and items with only the selected ratings."""
    return replace(
        dataset,
        user_rows=dataset.user_rows[selected],
        item_rows=dataset.item_rows[selected],
        ratings=dataset.ratings[selected],
        timestamps=None if dataset.timestamps is None else dataset.timestamps[selected],
    )


def last_of_each_pair(user_rows: RowArray, item_rows: RowArray, n_items: int) -> BoolArray | None:
    """Mark the last rating of every (user, item), (n_ratings,); None where every pair occurs once."""
    pairs = _pairs(user_rows, item_rows, n_items)
    # In place: an order would take as much again, and hardly any data has pairs rated twice.
    pairs.sort()
    if (pairs[1:] != pairs[:-1]).all():
        return None
    pairs = _pairs(user_rows, item_rows, n_items)
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    is_last = np.append(pairs[1:] != pairs[:-1], True)
    kept = np.empty(len(order), dtype=bool)
    kept[order] = is_last
    return kept


def describe_items(item_ids: Sequence[str], items: Mapping[str, ItemDescription]) -> Catalogue:
    """The catalogue of ``item_ids``; an item without description has an empty one."""
    nothing = ItemDescription()
    described = [items.get(item_id, nothing) for item_id in item_ids]
    return Catalogue(
        item_ids=item_ids,
        titles=[item.title for item in described],
        genres=[item.genres for item in described],
        release_years=np.array([item.release_year for item in described], dtype=np.int64),
    )


def year_of_title(title: str) -> int:
    """The year at the end of "Toy Story (1995)", 0 where there is none."""
    found = _TITLE_YEAR.search(title)
    return int(found.group(1)) if found else 0


def split_genres(text: str) -> tuple[str, ...]:
    """The genres of "Adventure|Children", none of "" and "(no genres listed)"."""
    return tuple(g for g in (part.strip() for part in text.split("|")) if g and g != "(no genres listed)")


def _pairs(user_rows: RowArray, item_rows: RowArray, n_items: int) -> Int64Array:
    """A number for every (user, item), (n_ratings,)."""
    pairs = user_rows.astype(np.int64)
    pairs *= n_items + 1
    pairs += item_rows
    return pairs


def _block_codes(collector: IdCollector, ids: pa.DictionaryArray) -> RowArray:
    codes: RowArray = collector.codes(ids.dictionary.to_pylist())[ids.indices.to_numpy()]
    return codes


def _check(dataset: RatingsDataset, source: Path | None) -> None:
    if dataset.n_users < 2:
        raise InputError(f"every rating is by one user ({dataset.user_ids[0]!r}): at least two are needed", source)
    if dataset.n_items < 2:
        item_id = dataset.catalogue.item_ids[0]
        raise InputError(f"every rating is of one item ({item_id!r}): at least two are needed", source)
    low, high = float(dataset.ratings.min()), float(dataset.ratings.max())
    if low == high:
        raise InputError(f"every rating is {low:g}: there is nothing to learn; are these clicks or purchases?", source)
    if low < dataset.rating_min or high > dataset.rating_max:
        raise InputError(
            f"ratings lie between {low:g} and {high:g}, off the scale of {dataset.rating_min:g} to "
            f"{dataset.rating_max:g}: give the right scale",
            source,
        )
