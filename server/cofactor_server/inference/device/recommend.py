"""Run Recommend of dot products on a device: queries in, the best items of each user out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cofactor_server.arrays import AnyArray, FloatArray, IndexArray, typed_table
from cofactor_server.inference.device.recommend_graph import (
    BLOCK,
    EXCLUDED_SCORE,
    CatalogueShape,
    Search,
    counts,
    recommend_graph,
)
from cofactor_server.inference.device.session import FixedBinding, IdleBindings
from cofactor_server.inference.device.shape_buckets import BATCH_SIZES, LENGTHS, padded_length
from cofactor_server.inference.device.tables import DeviceTables
from cofactor_server.inference.execution_providers import Device
from cofactor_server.inference.sessions import load_model, session_options
from cofactor_server.repository.version_directory import VersionDirectory

# A longer list of results is left to the CPU.
LARGEST_K = LENGTHS[1]
COLUMNS = "item_columns"


def has_device_graph(directory: VersionDirectory) -> bool:
    """Return True if all scores of a version are dot products."""
    return directory.manifest.architecture == "dot-product" and "item_hidden" not in directory.tables


def build_columns(tables: Mapping[str, AnyArray]) -> FloatArray:
    """Make the table item_columns of a version that lacks it; docs/model-format.md has its layout."""
    factors = typed_table(tables, "item_factors", np.float32)
    n_rows, n_factors = factors.shape
    columns = np.zeros((n_factors + 3, n_rows + -n_rows % BLOCK), dtype=np.float32)
    columns[:n_factors, :n_rows] = factors.T
    for row, name in enumerate(("item_bias", "item_log_popularity", "item_inverse_norms"), n_factors):
        columns[row, :n_rows] = tables[name]
    return columns


class DeviceRecommend:
    """Takes the inputs of graph recommend and returns its outputs.

    Users, excluded rows and results are padded to a few shapes, so that ONNX Runtime plans its memory once for each.
    The device finds the rows and their scores; ratings are computed here, for k items of each user.

    Attributes:
        columns: what is bound to the graph's input of that name.
        shape: shape of the columns.
        beyond: columns that are no items: the unknown item, and those that fill up the table.
        session: the graph's session.
    """

    def __init__(
        self, directory: VersionDirectory, tables: DeviceTables, device: Device, search: Search = "auto"
    ) -> None:
        """Load the graph. Raises ONNX Runtime's errors."""
        self._device = device
        manifest = directory.manifest
        self._range = (manifest.rating_range.low, manifest.rating_range.high - manifest.rating_range.low)
        self._has_range = manifest.HasField("rating_range")
        self._global_bias = np.float32(manifest.global_bias)
        self._tables = directory.tables
        self._n_items = int(manifest.item_count)
        self._n_ranking = int(manifest.ranking_factor_count)
        own = None if COLUMNS in directory.tables else build_columns(directory.tables)
        columns = tables.whole("recommend", COLUMNS, own)
        self.columns = [replace(columns, name="columns")]
        self.shape = CatalogueShape(*columns.shape)
        self.beyond = np.arange(self._n_items, self.shape.n_columns)
        self._search_kind: Search = search
        options = session_options("recommend", on_device=True)
        self.session = load_model(recommend_graph(self.shape, search), device, options)
        self._lengths = sorted({min(k, self._n_items) for k in LENGTHS if k <= LARGEST_K})
        self._idle = IdleBindings()

    def can_run(self, inputs: Mapping[str, AnyArray]) -> bool:
        """Return True if the list of results is short enough for the device."""
        return 1 <= int(inputs["k"][0]) <= self._lengths[-1]

    def run(self, outputs: Sequence[str], inputs: Mapping[str, AnyArray], *options: object) -> list[AnyArray]:
        """Run the graph like onnxruntime does. RunOptions are those of the CPU and are not read."""
        del options
        query = self.query(inputs)
        n_users, k = len(query), int(inputs["k"][0])
        rows, scores = self._search(query, inputs["excluded_rows"], next(n for n in self._lengths if n >= k))
        found = self._complete(inputs, rows[:n_users, :k], scores[:n_users, :k])
        return [found[name] for name in outputs]

    def query(self, inputs: Mapping[str, AnyArray]) -> FloatArray:
        """Return what multiplies the columns, (B, n_rows)."""
        factors = inputs["user_factors"]
        n_users, n_factors = factors.shape
        query = np.zeros((n_users, self.shape.n_rows), dtype=np.float32)
        query[:, :n_factors] = factors
        query[:, n_factors] = 1
        if self._n_ranking:
            weights, n_rating = inputs["order_weights"], n_factors - self._n_ranking
            query[:, :n_rating] *= weights[:, :1]  # type: ignore[arg-type]
            query[:, n_rating:n_factors] *= weights[:, 1:]  # type: ignore[arg-type]
            query[:, n_factors] = weights[:, 0]
        query[:, n_factors + 1] = inputs["popularity_weight"]
        return query

    def _search(self, query: FloatArray, excluded: AnyArray, k: int) -> tuple[IndexArray, FloatArray]:
        batch_size, length = padded_length(len(query), BATCH_SIZES), padded_length(excluded.shape[1], LENGTHS)
        padded = self.padded_inputs(query, excluded, batch_size, length)
        shape = (batch_size, length, k)
        binding = self._idle.take(shape) or self._bind(k, padded)
        rows, scores = binding.run(padded)
        self._idle.put(shape, binding)
        return rows, scores  # type: ignore[return-value]

    def padded_inputs(self, query: FloatArray, excluded: AnyArray, batch_size: int, length: int) -> dict[str, AnyArray]:
        """Return the inputs of the graph for a batch of this size and lists of this length."""
        wide = np.zeros((batch_size, query.shape[1]), dtype=np.float32)
        wide[: len(query)] = query
        rows = np.full((batch_size, length + len(self.beyond)), self._n_items, dtype=np.int64)
        rows[: len(query), : excluded.shape[1]] = excluded
        rows[:, length:] = self.beyond
        return {"query": wide, "excluded": rows}

    def _bind(self, k: int, padded: Mapping[str, AnyArray]) -> FixedBinding:
        """Make a binding for inputs of these shapes and k results."""
        lowered = np.full(padded["excluded"].shape, EXCLUDED_SCORE, dtype=np.float32)
        inputs = {**padded, "lowered": lowered}
        shape = (len(lowered), k)
        outputs: dict[str, AnyArray] = {"rows": np.empty(shape, np.int64), "scores": np.empty(shape, np.float32)}
        on_host = counts(self.shape, k, self._search_kind)
        return FixedBinding(self.session, self.columns, inputs, on_host, outputs, self._device)

    def _complete(self, inputs: Mapping[str, AnyArray], rows: IndexArray, scores: FloatArray) -> dict[str, AnyArray]:
        """Add the terms that are equal for all items of a user, and compute the ratings, as graph recommend does."""
        constant = (inputs["user_bias"] + self._global_bias)[:, None]  # type: ignore[operator]
        if not self._n_ranking:
            total = scores + constant
            popularity = inputs["popularity_weight"][:, None] * self._tables["item_log_popularity"][rows]  # type: ignore[operator]
            return {"item_rows": rows, "scores": total, "ratings": self._ratings(total - popularity)}
        total = scores + inputs["order_weights"][:, :1] * constant
        n_rating = inputs["user_factors"].shape[1] - self._n_ranking
        items = self._tables["item_factors"][rows, :n_rating]
        logits = np.einsum("bkd,bd->bk", items, inputs["user_factors"][:, :n_rating])  # type: ignore[arg-type]
        logits = logits + self._tables["item_bias"][rows] + constant
        logits = np.where(scores > 0.1 * EXCLUDED_SCORE, logits, scores)
        return {"item_rows": rows, "scores": total, "ratings": self._ratings(logits)}

    def _ratings(self, logits: FloatArray) -> FloatArray:
        if not self._has_range:
            return logits
        low, width = self._range
        # The sigmoid without an overflow: excluded items have logits of -1e30.
        ratings: FloatArray = low + width * (0.5 + 0.5 * np.tanh(0.5 * logits))
        return ratings
