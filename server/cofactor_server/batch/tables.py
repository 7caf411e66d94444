"""Lay out recommendations as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from cofactor_server.arrays import IndexArray
from cofactor_server.batch.arrow_arrays import of_numbers, of_strings
from cofactor_server.batch.recommendations import Recommendations
from cofactor_server.serving.loaded_version import LoadedVersion

Layout = Literal["long", "lists"]


class RecommendationTables:
    """Turns recommendations of one version into tables of one layout.

    "long" has one row for each user and item: user_id, rank (from 1), item_id, score. "lists" has one row for each
    user: user_id, item_ids, scores. Versions that predict ratings add predicted_rating or predicted_ratings.

    Attributes:
        schema: of the tables; its metadata says what the file holds.
    """

    def __init__(self, version: LoadedVersion, layout: Layout, metadata: Mapping[str, str]) -> None:
        self._user_ids = of_strings(version.user_ids.ids)
        self._item_ids = of_strings(version.item_ids.ids)
        self._layout = layout
        self._has_ratings = version.predicts_ratings
        self.schema = pa.schema(self._fields(), metadata=dict(metadata))

    def _fields(self) -> list[pa.Field]:
        item_ids = pa.dictionary(pa.int32(), pa.string())
        if self._layout == "long":
            fields = [
                pa.field("user_id", pa.string(), nullable=False),
                pa.field("rank", pa.int32(), nullable=False),
                pa.field("item_id", item_ids, nullable=False),
                pa.field("score", pa.float32(), nullable=False),
            ]
            return [*fields, pa.field("predicted_rating", pa.float32(), nullable=False)][: 4 + self._has_ratings]
        fields = [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("item_ids", pa.list_(pa.string()), nullable=False),
            pa.field("scores", pa.list_(pa.float32()), nullable=False),
        ]
        return [*fields, pa.field("predicted_ratings", pa.list_(pa.float32()), nullable=False)][: 3 + self._has_ratings]

    def table(self, found: Recommendations) -> pa.Table:
        """Return the table of some recommendations."""
        columns = self._long(found) if self._layout == "long" else self._lists(found)
        return pa.Table.from_arrays(columns[: len(self.schema)], schema=self.schema)

    def _long(self, found: Recommendations) -> list[Any]:
        users = self._user_ids.take(of_numbers(np.repeat(found.user_rows, found.counts)))
        offsets = _offsets(found.counts)
        ranks = np.arange(1, offsets[-1] + 1) - np.repeat(offsets[:-1], found.counts)
        items = pa.DictionaryArray.from_arrays(of_numbers(found.item_rows.astype(np.int32)), self._item_ids)
        numbers = (ranks.astype(np.int32), found.scores, found.ratings)
        rank, score, rating = map(of_numbers, numbers)
        return [users, rank, items, score, rating]

    def _lists(self, found: Recommendations) -> list[Any]:
        users = self._user_ids.take(of_numbers(found.user_rows))
        offsets = of_numbers(_offsets(found.counts).astype(np.int32))
        items = self._item_ids.take(of_numbers(found.item_rows))
        values = (items, of_numbers(found.scores), of_numbers(found.ratings))
        return [users, *(pa.ListArray.from_arrays(offsets, value) for value in values)]


def _offsets(counts: IndexArray) -> IndexArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
