"""Write the vectors of items and users for a vector database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.arrays import FloatArray, typed_table
from cofactor_server.batch.arrow_arrays import of_numbers, of_strings
from cofactor_server.batch.parquet_parts import replacing
from cofactor_server.errors import ModelRefused
from cofactor_server.ranking.orders import Order
from cofactor_server.serving.loaded_version import LoadedVersion

_ROWS_PER_GROUP = 50_000
_EXTRA_COLUMNS = 2  # bias and log popularity


class VectorTables:
    """The vectors whose inner product orders items as Recommend does.

    A version with n factors has vectors of n + 2 numbers. That of an item is its factors, its bias and its log
    popularity. That of a user is its factors, each times the weight of its logit in the order, then the weights of the
    rating logit and of popularity. The score of Recommend is the inner product plus the user's offset.

    Raises ModelRefused if the version has a neural network, whose order is not that of an inner product.
    """

    def __init__(self, version: LoadedVersion) -> None:
        if version.manifest.architecture != "dot-product":
            raise ModelRefused(
                f"{version.key} is a {version.manifest.architecture}, whose order is not that of an inner product; "
                "export the vectors of a dot product"
            )
        self._version = version
        self._order = version.orders.known[RecommendRequest.RANKING_UNSPECIFIED]
        self._n_factors = int(version.manifest.user_factor_count)
        self._vector = pa.list_(pa.float32(), self._n_factors + _EXTRA_COLUMNS)

    def write_items(self, path: Path) -> int:
        """Write item_id, vector and rating_count of every item; return the number of items."""
        schema = self._schema([pa.field("item_id", pa.string()), pa.field("rating_count", pa.int64())])
        return _write(path, schema, self._item_columns())

    def write_users(self, path: Path) -> int:
        """Write user_id, vector and offset of every user that is not erased; return the number of users."""
        schema = self._schema([pa.field("user_id", pa.string()), pa.field("offset", pa.float32())])
        return _write(path, schema, self._user_columns())

    def _item_columns(self) -> Iterator[list[Any]]:
        tables, ids = self._version.tables, of_strings(self._version.item_ids.ids)
        counts = typed_table(tables, "item_rating_counts", np.int64)
        columns = ("item_bias", "item_log_popularity")
        for start in range(0, len(ids), _ROWS_PER_GROUP):
            rows = slice(start, min(start + _ROWS_PER_GROUP, len(ids)))
            factors = typed_table(tables, "item_factors", np.float32)[rows]
            extra = np.stack([typed_table(tables, name, np.float32)[rows] for name in columns], axis=1)
            yield [ids[rows], of_numbers(counts[rows]), self._vectors(factors, extra)]

    def _user_columns(self) -> Iterator[list[Any]]:
        ids = of_strings(self._version.user_ids.ids)
        known_rows = np.array([row for row, user_id in enumerate(self._version.user_ids.ids) if user_id])
        order, global_bias = self._order, np.float32(self._version.manifest.global_bias)
        weights = self._factor_weights()
        for start in range(0, len(known_rows), _ROWS_PER_GROUP):
            rows = known_rows[start : start + _ROWS_PER_GROUP]
            factors, bias = self._version.users.factors_and_biases(rows)
            ends = np.array([[order.rating_weight, order.popularity_weight]], np.float32).repeat(len(rows), axis=0)
            offsets = np.float32(order.rating_weight) * (bias + global_bias)
            yield [ids.take(of_numbers(rows)), of_numbers(offsets), self._vectors(factors * weights, ends)]

    def _factor_weights(self) -> FloatArray:
        weights = np.full(self._n_factors, self._order.rating_weight, dtype=np.float32)
        weights[self._n_factors - self._version.manifest.ranking_factor_count :] = self._order.ranking_weight
        return weights

    def _vectors(self, factors: FloatArray, extra: FloatArray) -> Any:
        flat = of_numbers(np.concatenate([factors, extra], axis=1).astype(np.float32).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, type=self._vector)

    def _schema(self, fields: Sequence[pa.Field]) -> pa.Schema:
        manifest, orders = self._version.manifest, self._version.orders
        metadata = {
            "cofactor.model": manifest.name,
            "cofactor.version": manifest.version,
            "cofactor.embedding_space": manifest.embedding_space,
            "cofactor.metric": "inner_product",
            "cofactor.score": "inner product of the two vectors, plus the offset of the user",
            "cofactor.factor_count": str(self._n_factors),
            "cofactor.ranking_factor_count": str(manifest.ranking_factor_count),
            "cofactor.order_of_known_users": _weights(orders.known[RecommendRequest.RANKING_UNSPECIFIED]),
            "cofactor.order_of_new_users": _weights(orders.new[RecommendRequest.RANKING_UNSPECIFIED]),
        }
        columns = [fields[0], *fields[1:], pa.field("vector", self._vector)]
        return pa.schema([pa.field(field.name, field.type, nullable=False) for field in columns], metadata=metadata)


def _weights(order: Order) -> str:
    return json.dumps(
        {
            "rating_weight": order.rating_weight,
            "ranking_weight": order.ranking_weight,
            "popularity_weight": order.popularity_weight,
        }
    )


def _write(path: Path, schema: pa.Schema, groups: Iterator[list[Any]]) -> int:
    n_rows = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for columns in groups:
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            n_rows += len(columns[0])
    return n_rows
