"""Write graphs as ONNX files whose tables are external data."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from cofactor.v1 import manifest_pb2
from cofactor_trainer.graphs.graph_spec import GraphSpec, OnnxGraph
from cofactor_trainer.graphs.templates.instantiation import graph_from_template


def write_graph(
    spec: GraphSpec,
    path: Path,
    tables: Mapping[str, manifest_pb2.Table],
    tables_file: str,
    *,
    allow_template: bool = True,
) -> bool:
    """Export a graph to path.

    Args:
        spec: graph to export.
        path: file to write.
        tables: tables by name. A buffer with the name of a table, or of a slice of one, refers to tables_file.
        tables_file: name of the file that holds the tables.
        allow_template: False to trace the graph even if there is a template.

    Returns:
        True if the graph was made from a template.

    Raises:
        ValueError: a buffer does not fit its table, or a free dimension has become constant.
    """
    graph = graph_from_template(spec) if allow_template else None
    is_from_template = graph is not None
    if graph is None:
        from cofactor_trainer.graphs.tracing import trace  # torch's exporter takes seconds to import

        graph = trace(spec)
    proto = _store_initializers(graph, tables, tables_file, spec.table_names)
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    onnx.checker.check_model(path)
    return is_from_template


def tables_by_initializer(path: Path, tables: Iterable[manifest_pb2.Table]) -> dict[str, str]:
    """Return the table of every initializer of the graph at path that is a whole table, by initializer name."""
    names = {(table.offset, *table.shape): table.name for table in tables}
    found = {}
    for initializer in onnx.load(path, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in initializer.external_data}
        name = names.get((int(entries["offset"]), *initializer.dims)) if "offset" in entries else None
        if name is not None:
            found[initializer.name] = name
    return found


def _store_initializers(
    graph: OnnxGraph,
    tables: Mapping[str, manifest_pb2.Table],
    tables_file: str,
    table_names: Mapping[str, str],
) -> onnx.ModelProto:
    """Return the graph with its initializers; those that are tables, or parts of one, refer to tables_file.

    Where both branches of a graph read a part of a table, one initializer is stored for both.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    first: dict[tuple[Any, ...], str] = {}
    merged: dict[str, str] = {}
    for name, value in graph.initializers.items():
        buffer, _, start = name.rpartition(".")[2].partition("_from_")
        table_name = table_names.get(buffer, buffer)
        if table_name not in tables:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
            continue
        reference = _reference(name, value, tables[table_name], int(start or 0), tables_file)
        shared = first.setdefault((*(entry.value for entry in reference.external_data), value.shape), name)
        if shared == name:
            proto.graph.initializer.append(reference)
        else:
            merged[name] = shared
    for node in _nodes(proto.graph):
        for position, name in enumerate(node.input):
            if name in merged:
                node.input[position] = merged[name]
    return proto


def _reference(
    name: str, value: npt.NDArray[Any], table: manifest_pb2.Table, start: int, tables_file: str
) -> onnx.TensorProto:
    """Return an initializer that refers to its rows of the table in tables_file, beginning at row start."""
    n_rows, *row = value.shape
    # A vector may be referred to as a column: ONNX Runtime would copy it to reshape it in the graph.
    if math.prod(row) != math.prod(table.shape[1:]) or start + n_rows > table.shape[0]:
        raise ValueError(f"initializer {name} is not a part of the table {table.name}")
    tensor = onnx.TensorProto(
        name=name,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(value.dtype),
        dims=value.shape,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    offset = table.offset + start * value.nbytes // n_rows
    for key, entry in (("location", tables_file), ("offset", offset), ("length", value.nbytes)):
        tensor.external_data.add(key=key, value=str(entry))
    return tensor


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
