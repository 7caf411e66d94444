"""Export torch modules as ONNX files whose tables are external data."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from cofactor.v1 import manifest_pb2
from cofactor_trainer.graphs.graph_switch import Condition, switch_graphs

OPSET = 18


@dataclass(frozen=True)
class GraphSpec:
    """A torch module and how to export it.

    Attributes:
        module: module to export.
        inputs: example inputs by name; every free dimension is at least 2.
        dynamic_axes: names of the free dimensions, {input: {axis: name}}.
        outputs: output names.
        broadcast_axes: names of axes that are traced as equal to another axis but may also be 1, {input: {axis: name}}.
        special: a condition, and the module to run instead of `module` where it holds; None to always run `module`.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    dynamic_axes: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]
    broadcast_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    special: tuple[Condition, nn.Module] | None = None


def table_slice_name(table: str, start: int) -> str:
    """Return the name of a buffer that holds some rows of a table, beginning at row start."""
    return f"{table}_from_{start}"


def write_graph(spec: GraphSpec, path: Path, tables: Mapping[str, manifest_pb2.Table], tables_file: str) -> None:
    """Export a graph to path.

    Args:
        spec: graph to export.
        path: file to write.
        tables: tables by name. A buffer with the name of a table, or of a slice of one, refers to tables_file.
        tables_file: name of the file that holds the tables.

    Raises:
        ValueError: a buffer does not fit its table, or a free dimension has become constant.
    """
    model = _trace(spec)
    if spec.special is not None:
        condition, module = spec.special
        special = _single_user_spec(spec, module) if condition == "one row" else replace(spec, module=module)
        model = switch_graphs(condition, _trace(special), model)
    for name, initializer in list(model.graph.initializers.items()):
        if not initializer.uses():
            del model.graph.initializers[name]
            continue
        table_name, _, start = name.rpartition(".")[2].partition("_from_")
        if table_name in tables:
            _refer_to_table(initializer, tables[table_name], int(start or 0), tables_file)
    _merge_equal_references(model)
    _name_dimensions(model, spec)
    proto = ir.to_proto(model)
    _strip_metadata(proto)
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    onnx.checker.check_model(path)


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


def _single_user_spec(spec: GraphSpec, module: nn.Module) -> GraphSpec:
    """Specify the module for a batch of one: the first dimension of the first input is 1 and no longer free."""
    batch = spec.dynamic_axes[next(iter(spec.inputs))][0]
    inputs = {
        name: value[:1] if spec.dynamic_axes.get(name, {}).get(0) == batch else value
        for name, value in spec.inputs.items()
    }
    dynamic_axes = {
        name: {axis: dimension for axis, dimension in axes.items() if dimension != batch}
        for name, axes in spec.dynamic_axes.items()
    }
    return replace(spec, module=module, inputs=inputs, dynamic_axes=dynamic_axes)


def _trace(spec: GraphSpec) -> ir.Model:
    names = sorted({name for axes in spec.dynamic_axes.values() for name in axes.values()})
    dimensions = {name: torch.export.Dim(name) for name in names}
    shapes = tuple(
        {axis: dimensions[dimension] for axis, dimension in spec.dynamic_axes.get(name, {}).items()}
        for name in spec.inputs
    )
    with _quiet_exporter():
        program = torch.onnx.export(
            spec.module.eval(),
            tuple(spec.inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    return program.model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the warnings of torch's exporter."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _refer_to_table(initializer: ir.Value, table: manifest_pb2.Table, start: int, tables_file: str) -> None:
    """Make an initializer refer to its rows of the table in tables_file, beginning at row start."""
    tensor = initializer.const_value
    assert tensor is not None
    n_rows, *row = tensor.shape.numpy()
    # A vector may be referred to as a column: ONNX Runtime would copy it to reshape it in the graph.
    if math.prod(row) != math.prod(table.shape[1:]) or start + n_rows > table.shape[0]:
        raise ValueError(f"initializer {initializer.name} is not a part of the table {table.name}")
    offset = table.offset + start * tensor.nbytes // n_rows
    initializer.const_value = ir.ExternalTensor(
        tables_file,
        offset,
        tensor.nbytes,
        tensor.dtype,
        shape=ir.Shape([n_rows, *row]),
        name=initializer.name or "",
    )


def _merge_equal_references(model: ir.Model) -> None:
    """Keep one initializer for each part of a table, where both branches of a graph have one."""
    first: dict[tuple[int | None, int | None], ir.Value] = {}
    for name, initializer in list(model.graph.initializers.items()):
        tensor = initializer.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        shared = first.setdefault((tensor.offset, tensor.length), initializer)
        if shared is not initializer and shared.shape == initializer.shape:
            initializer.replace_all_uses_with(shared)
            del model.graph.initializers[name]


def _name_dimensions(model: ir.Model, spec: GraphSpec) -> None:
    for value in model.graph.inputs:
        assert value.shape is not None
        name = value.name or ""
        for axis, dimension in {**spec.dynamic_axes.get(name, {}), **spec.broadcast_axes.get(name, {})}.items():
            if isinstance(value.shape[axis], int):
                raise ValueError(f"dimension {axis} of input {name} has become constant: len() of a tensor does that")
            value.shape[axis] = dimension


def _strip_metadata(proto: onnx.ModelProto) -> None:
    """Remove the source file and line that torch records for every node, with paths of this machine.

    Inferred shapes are removed too: they hold torch's names of dimensions, and ONNX Runtime infers them again.
    """
    del proto.metadata_props[:]
    del proto.graph.value_info[:]
    _strip_graph_metadata(proto.graph)


def _strip_graph_metadata(graph: onnx.GraphProto) -> None:
    del graph.metadata_props[:]
    parts: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):  # a branch
                _strip_graph_metadata(attribute.g)
