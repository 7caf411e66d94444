"""Build the graph that a device runs for Recommend of dot products.

The graphs of a version are made for the processor: they score a large catalogue part by part, in its caches. A device
is faster with the opposite: one matrix product for all scores, few nodes, no control flow, no node that only the CPU
has. It depends on the tables alone, so the server builds it when it loads the version, and checks it with the golden
tests of graph recommend (docs/decisions/0013).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cofactor_server.arrays import IndexArray
from cofactor_server.inference.device.onnx_model import FLOAT, INT64, GraphBuilder

# The axes of ReduceMax are an attribute: an input of opset 18 would have to be on the host.
OPSET = 17
# Columns of a table of columns are filled up to a multiple of this.
BLOCK = 128
# Blocks in a block of blocks.
BLOCKS_PER_GROUP = 64
# ONNX Runtime's TopK gives each row to one multiprocessor, which takes long for more elements than this.
MAX_TOP_K_ELEMENTS = 4096
EXCLUDED_SCORE = -1e30
# Fills up the last group. Lower than every excluded item, so that it is never chosen before one.
PADDING_SCORE = -2e30

Search = Literal["auto", "plain", "blocks", "groups"]


@dataclass(frozen=True)
class CatalogueShape:
    """Shape of the table of columns that a catalogue is scored with.

    Attributes:
        n_rows: number of terms of a score.
        n_columns: number of items and of columns beyond them, a multiple of BLOCK.
    """

    n_rows: int
    n_columns: int

    @property
    def n_blocks(self) -> int:
        """Return the number of blocks."""
        return self.n_columns // BLOCK

    @property
    def n_groups(self) -> int:
        """Return the number of groups of blocks; the last one may not be full."""
        return -(-self.n_blocks // BLOCKS_PER_GROUP)

    def search(self) -> Search:
        """Return how to find the best items, so that each TopK has few elements."""
        if self.n_columns <= MAX_TOP_K_ELEMENTS:
            return "plain"
        return "blocks" if self.n_blocks <= MAX_TOP_K_ELEMENTS else "groups"


def recommend_graph(shape: CatalogueShape, search: Search = "auto") -> bytes:
    """Build the model: the k best columns of columns (n_rows, n_columns) for each query.

    Inputs on the device: query f32 (B, n_rows), whose product with a column is its score; columns; excluded i64 (B, E),
    columns to leave out; lowered f32 (B, E), EXCLUDED_SCORE everywhere. Inputs on the host: those of `counts`. Outputs:
    rows i64 (B, k), best first, scores f32 (B, k). The k blocks with the highest maxima hold the k best columns, so the
    result is exact.
    """
    search = shape.search() if search == "auto" else search
    graph = GraphBuilder("recommend_device", OPSET)
    query = graph.input("query", FLOAT, ["B", shape.n_rows])
    columns = graph.input("columns", FLOAT, [shape.n_rows, shape.n_columns])
    excluded = graph.input("excluded", INT64, ["B", "E"])
    lowered = graph.input("lowered", FLOAT, ["B", "E"])
    inputs = {name: graph.input(name, INT64, [1]) for name in counts(shape, 1, search)}
    scores = graph.add("MatMul", query, columns)
    scores = graph.add("ScatterElements", scores, excluded, lowered, axis=1)
    if search == "plain":
        best, rows = graph.add_many("TopK", 2, scores, inputs["k"], axis=1)
    else:
        best, rows = _search_blocks(graph, scores, shape.n_columns, inputs)
    graph.output("rows", rows, INT64, ["B", "k"])
    graph.output("scores", best, FLOAT, ["B", "k"])
    return graph.serialize()


def counts(shape: CatalogueShape, k: int, search: Search = "auto") -> dict[str, IndexArray]:
    """Return the inputs that say how many columns, blocks and groups to choose for k results."""
    search = shape.search() if search == "auto" else search
    limits = {"k": shape.n_columns}
    if search != "plain":
        limits["k_blocks"] = shape.n_blocks
    if search == "groups":
        limits["k_groups"] = shape.n_groups
    return {name: np.array([min(k, limit)], dtype=np.int64) for name, limit in limits.items()}


def _search_blocks(graph: GraphBuilder, scores: str, n_columns: int, inputs: Mapping[str, str]) -> tuple[str, str]:
    shape = CatalogueShape(0, n_columns)
    blocks = _split(graph, scores, shape.n_blocks, BLOCK)
    maxima = graph.add("ReduceMax", blocks, axes=[2], keepdims=0)
    if "k_groups" not in inputs:
        return _best_within(graph, blocks, _best_in_order(graph, maxima, inputs["k_blocks"]), BLOCK, inputs["k"])
    missing = shape.n_groups * BLOCKS_PER_GROUP - shape.n_blocks
    if missing:
        filler = graph.constant(np.array(PADDING_SCORE, dtype=np.float32))
        maxima = graph.add("Pad", maxima, graph.integers(0, 0, 0, missing), filler)
    groups = _split(graph, maxima, shape.n_groups, BLOCKS_PER_GROUP)
    highest = graph.add("ReduceMax", groups, axes=[2], keepdims=0)
    best_groups = _best_in_order(graph, highest, inputs["k_groups"])
    _, best_blocks = _best_within(graph, groups, best_groups, BLOCKS_PER_GROUP, inputs["k_blocks"])
    return _best_within(graph, blocks, _ascending(graph, best_blocks, inputs["k_blocks"]), BLOCK, inputs["k"])


def _split(graph: GraphBuilder, values: str, n_parts: int, size: int) -> str:
    """Reshape values (B, n_parts * size) -> (B, n_parts, size)."""
    return graph.add("Reshape", values, graph.integers(-1, n_parts, size))


def _best_in_order(graph: GraphBuilder, values: str, n_best: str) -> str:
    """Return the indices of the highest values (B, n), in ascending order -> (B, n_best)."""
    _, indices = graph.add_many("TopK", 2, values, n_best, axis=1)
    return _ascending(graph, indices, n_best)


def _ascending(graph: GraphBuilder, indices: str, n: str) -> str:
    """Sort indices (B, n), so that equal scores stay in the order of their rows."""
    return graph.add_many("TopK", 2, indices, n, axis=1, largest=0)[0]


def _best_within(graph: GraphBuilder, parts: str, chosen: str, size: int, n_best: str) -> tuple[str, str]:
    """Find the highest values in chosen parts.

    parts (B, n, size), chosen (B, n_chosen) -> the n_best highest values, and their positions in the rows of n * size.
    """
    values = graph.add("GatherND", parts, graph.add("Unsqueeze", chosen, graph.integers(2)), batch_dims=1)
    best, positions = graph.add_many("TopK", 2, graph.add("Flatten", values, axis=1), n_best, axis=1)
    width = graph.integers(size)
    place = graph.add("Div", positions, width)
    offset = graph.add("Sub", positions, graph.add("Mul", place, width))
    part = graph.add("GatherElements", chosen, place, axis=1)
    return best, graph.add("Add", graph.add("Mul", part, width), offset)
