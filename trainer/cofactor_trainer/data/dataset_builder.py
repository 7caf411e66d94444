"""Build a checked `RatingsDataset` from chunks of ratings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.dataset import BoolArray, Float32Array, Float64Array, RatingsDataset, RowArray
from cofactor_trainer.data.duplicates import last_of_each_pair, without_duplicates
from cofactor_trainer.data.id_index import IdIndexBuilder
from cofactor_trainer.data.item_descriptions import ItemDescription, build_catalogue, unrated_items
from cofactor_trainer.data.plausibility import warn_of_similar_ids
from cofactor_trainer.data.times import TimeReader, to_seconds
from cofactor_trainer.errors import InputError
from cofactor_trainer.memory import GrowingArray, return_freed_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RatingsChunk:
    """Consecutive ratings of a file, ids not yet replaced by rows.

    Attributes:
        user_ids: (n,) strings, dictionary encoded.
        item_ids: (n,) strings, dictionary encoded.
        ratings: (n,), finite.
        timestamps: (n,) numbers since 1970 in a unit of time that is the same for the file, or None.
        held_out: (n,), True where a predefined split holds a rating out; None without such a split.
        given_ratings: (n,), ratings that came with events, NaN where there is none; None for other tables.
    """

    user_ids: pa.DictionaryArray
    item_ids: pa.DictionaryArray
    ratings: Float32Array
    timestamps: Float64Array | None
    held_out: BoolArray | None = None
    given_ratings: Float32Array | None = None


@dataclass(frozen=True)
class RatingScale:
    """The lowest and the highest possible rating."""

    low: float
    high: float


def build_dataset(
    name: str,
    chunks: Iterable[RatingsChunk],
    *,
    items: Mapping[str, ItemDescription] | None = None,
    profiles: pd.DataFrame | None = None,
    scale: RatingScale | None = None,
    source: Path | None = None,
    times: TimeReader | None = None,
    keep_duplicates: bool = False,
    held_out_by: str = "",
) -> RatingsDataset:
    """Collect chunks of ratings into a dataset.

    Args:
        name: a name to print.
        chunks: read one by one, so that the ids of all ratings are never in memory together.
        items: descriptions by item id; those of items without ratings become the field ``unrated``.
        profiles: one row per user, indexed by user id.
        scale: the scale of the ratings; None for the range that the ratings span.
        source: the file to name in errors.
        times: reader of the times of the chunks.
        keep_duplicates: keep all ratings of a user and item, not only the latest one.
        held_out_by: the origin of a predefined split.

    Raises:
        InputError: there are no ratings, there is only one user or item, all ratings are equal, or a rating is
            outside the scale.
    """
    collected = collect(chunks)
    ratings = collected.ratings
    if not len(ratings):
        raise InputError("the file has no ratings", source)
    dataset = RatingsDataset(
        name=name,
        user_ids=collected.user_ids,
        catalogue=build_catalogue(collected.item_ids, items or {}),
        unrated=unrated_items(collected.item_ids, items or {}),
        user_rows=collected.user_rows,
        item_rows=collected.item_rows,
        ratings=ratings,
        timestamps=to_seconds(collected.timestamps) if len(collected.timestamps) == len(ratings) else None,
        timestamps_problem=None if times is None else times.problem,
        # Round the scale to single precision, as the ratings are: 0.7 in double precision is above a rating of 0.7.
        rating_min=float(ratings.min() if scale is None else np.float32(scale.low)),
        rating_max=float(ratings.max() if scale is None else np.float32(scale.high)),
        profiles=None if profiles is None else profiles.reindex(collected.user_ids).reset_index(drop=True),
        held_out=collected.held_out if len(collected.held_out) else None,
        held_out_by=held_out_by,
    )
    check_sides(dataset, source)
    _check_scale(dataset, source)
    warn_of_similar_ids("user", dataset.user_ids)
    warn_of_similar_ids("item", collected.item_ids)
    return dataset if keep_duplicates else _drop_duplicates(dataset)


@dataclass(frozen=True)
class CollectedRatings:
    """The ratings of all chunks; timestamps, held_out and given_ratings are (0,) if the chunks have none."""

    user_ids: list[str]
    user_rows: RowArray
    item_ids: list[str]
    item_rows: RowArray
    ratings: Float32Array
    timestamps: Float64Array
    held_out: BoolArray
    given_ratings: Float32Array


def collect(chunks: Iterable[RatingsChunk]) -> CollectedRatings:
    """Collect chunks, one by one, so that the ids of all ratings are never in memory together."""
    users, items = IdIndexBuilder(), IdIndexBuilder()
    user_codes, item_codes = GrowingArray(np.int32), GrowingArray(np.int32)
    ratings, timestamps, held_out = GrowingArray(np.float32), GrowingArray(np.float64), GrowingArray(np.bool_)
    given_ratings = GrowingArray(np.float32)
    for chunk in chunks:
        user_codes.append(_add_ids(users, chunk.user_ids))
        item_codes.append(_add_ids(items, chunk.item_ids))
        ratings.append(chunk.ratings)
        if chunk.timestamps is not None:
            timestamps.append(chunk.timestamps)
        if chunk.held_out is not None:
            held_out.append(chunk.held_out)
        if chunk.given_ratings is not None:
            given_ratings.append(chunk.given_ratings)
    return_freed_memory()
    user_ids, user_row_of_code = users.build()
    item_ids, item_row_of_code = items.build()
    return CollectedRatings(
        user_ids,
        user_row_of_code[user_codes.values()],
        item_ids,
        item_row_of_code[item_codes.values()],
        ratings.values(),
        timestamps.values(),
        held_out.values(),
        given_ratings.values(),
    )


def _add_ids(index: IdIndexBuilder, ids: pa.DictionaryArray) -> RowArray:
    """Add the ids of a chunk to the index and return their codes, (n,)."""
    codes: RowArray = index.add(ids.dictionary.to_pylist())[ids.indices.to_numpy()]
    return codes


def _drop_duplicates(dataset: RatingsDataset) -> RatingsDataset:
    distinct = without_duplicates(dataset) if dataset.held_out is None else _without_duplicates_in_parts(dataset)
    if distinct.n_ratings < dataset.n_ratings:
        n_dropped = dataset.n_ratings - distinct.n_ratings
        later = "in a later row" if dataset.timestamps is None else "later"
        logger.warning("dropped %d ratings, because the same user rated the same item again %s", n_dropped, later)
    return distinct


def _without_duplicates_in_parts(dataset: RatingsDataset) -> RatingsDataset:
    """Keep the latest rating of every pair in each part of a predefined split, and warn of pairs in both parts."""
    n_users, held_out = dataset.n_users + 1, dataset.held_out
    # In the held-out part, number the users from n_users on: pairs of different parts then differ.
    users = dataset.user_rows + n_users * np.asarray(held_out, np.int64)
    is_last = last_of_each_pair(users, dataset.item_rows, dataset.n_items, dataset.timestamps)
    distinct = dataset if is_last is None else dataset.select_ratings(is_last)
    is_single = last_of_each_pair(distinct.user_rows, distinct.item_rows, distinct.n_items)
    if is_single is not None:
        logger.warning(
            "%d held-out ratings are of a user and an item that are also in the train part, so their errors are too "
            "low: remove them from one of the parts",
            distinct.n_ratings - int(is_single.sum()),
        )
    return distinct


def check_sides(dataset: RatingsDataset, source: Path | None, noun: str = "ratings") -> None:
    """Raise an `InputError` if there is only one user or item."""
    if dataset.n_users < 2:
        raise InputError(f"all {noun} are by one user ({dataset.user_ids[0]!r}): at least two are needed", source)
    if dataset.n_items < 2:
        item_id = dataset.catalogue.item_ids[0]
        raise InputError(f"all {noun} are of one item ({item_id!r}): at least two are needed", source)


def _check_scale(dataset: RatingsDataset, source: Path | None) -> None:
    low, high = float(dataset.ratings.min()), float(dataset.ratings.max())
    if low == high:
        raise InputError(
            f"all ratings are {low:g}, so there is nothing to learn from them as ratings: if they are clicks, plays or "
            "purchases, pass --feedback events",
            source,
        )
    if low < dataset.rating_min or high > dataset.rating_max:
        raise InputError(
            f"the ratings go from {low:g} to {high:g}, outside the scale of {dataset.rating_min:g} to "
            f"{dataset.rating_max:g}: pass the right one with --scale",
            source,
        )
