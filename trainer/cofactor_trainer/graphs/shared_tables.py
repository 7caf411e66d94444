"""Which initializers of a graph are whole tables of the version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx

from cofactor.v1 import manifest_pb2


def whole_tables(path: Path, tables: Iterable[manifest_pb2.Table]) -> dict[str, str]:
    """The table that each such initializer of the graph at path refers to, by the initializer's name."""
    places = {(table.offset, *table.shape): table.name for table in tables}
    found = {}
    for initializer in onnx.load(path, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in initializer.external_data}
        name = places.get((int(entries["offset"]), *initializer.dims)) if "offset" in entries else None
        if name is not None:
            found[initializer.name] = name
    return found
