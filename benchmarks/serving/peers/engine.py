"""Recommend with ONNX Runtime from an exported version: the part that all peers serve.

It is as plain as the examples of the peers, and faster: it prepares all arrays when it is loaded.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.serving.tables import Tables


class Engine:
    """Runs the recommend graph of a version directory (docs/model-format.md) and maps ids to rows and back."""

    def __init__(self, version: Path) -> None:
        tables = Tables(version)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            version / "recommend.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._factors = tables.array("user_factors")
        self._bias = tables.array("user_bias")
        order = tables.manifest.get("defaultOrder")
        self._weight = np.float32(tables.manifest.get("defaultPopularityWeight", 0.0))
        # The input of versions with a ranking part; others have none.
        self._order = None if order is None else [order.get("ratingWeight", 0.0), order.get("rankingWeight", 0.0)]
        self._item_ids = tables.strings("item_ids")
        self._user_rows = {user_id: row for row, user_id in enumerate(tables.strings("user_ids"))}
        self._padding = len(self._item_ids)
        offsets, items = tables.array("rated.offsets"), tables.array("rated.item_rows").astype(np.int64)
        self._rated = [items[start:end] for start, end in pairwise(offsets)]

    def recommend(self, user_ids: list[str], k: int) -> list[tuple[list[str], list[float]]]:
        """Return item ids and scores for every user, best first, without the items that the user has rated."""
        rows = [self._user_rows[user_id] for user_id in user_ids]
        rated = [self._rated[row] for row in rows]
        excluded = np.full((len(rows), max(1, *map(len, rated), 1)), self._padding, dtype=np.int64)
        for line, items in zip(excluded, rated, strict=True):
            line[: len(items)] = items
        inputs = {
            "user_factors": self._factors[rows],
            "user_bias": self._bias[rows],
            "popularity_weight": np.full(len(rows), self._weight, dtype=np.float32),
            "excluded_rows": excluded,
            "k": np.array([k], dtype=np.int64),
        }
        if self._order is not None:
            inputs["order_weights"] = np.tile(np.float32(self._order), (len(rows), 1))
        item_rows, scores, _ = self._session.run(None, inputs)
        ids = self._item_ids
        return [
            ([ids[row] for row in line], line_scores)
            for line, line_scores in zip(item_rows.tolist(), scores.tolist(), strict=True)
        ]
