"""A torch module as an ONNX file whose tables are external."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from cofactor.v1 import manifest_pb2
from cofactor_trainer.graphs.batch_size_branches import by_batch_size

OPSET = 18


@dataclass(frozen=True)
class GraphSource:
    """A torch module and what to call its inputs and outputs in ONNX.

    Attributes:
        module: what is exported.
        inputs: an example of each, by name, every free dimension at least 2.
        free: the free dimensions of each input: {axis: name}.
        outputs: their names.
        aliases: dimensions that are one in torch and broadcast in ONNX: {input: {axis: name}}.
        single: answers in the place of module where the first dimension of the first input is 1.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    free: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]
    aliases: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    single: nn.Module | None = None


def part_of_table(table: str, start: int) -> str:
    """Name of a buffer that holds rows of a table, from row start on, as many as the buffer has."""
    return f"{table}_from_{start}"


def write_graph(source: GraphSource, path: Path, tables: Mapping[str, manifest_pb2.Table], tables_file: str) -> None:
    """Export source to path; for a buffer named as a table, or as a part of one, the graph refers to tables_file."""
    model = _trace(source)
    if source.single is not None:
        model = by_batch_size(_trace(_for_one(source)), model)
    for name, initializer in list(model.graph.initializers.items()):
        if not initializer.uses():
            del model.graph.initializers[name]
            continue
        table_name, _, start = name.rpartition(".")[2].partition("_from_")
        if table_name in tables:
            _externalise(initializer, tables[table_name], int(start or 0), tables_file)
    _share_tables(model)
    _name_dimensions(model, source)
    proto = ir.to_proto(model)
    _strip(proto)
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    onnx.checker.check_model(path)


def _for_one(source: GraphSource) -> GraphSource:
    """The source of a batch of one, its first dimension no longer free."""
    assert source.single is not None
    batch = source.free[next(iter(source.inputs))][0]
    inputs = {
        name: value[:1] if source.free.get(name, {}).get(0) == batch else value for name, value in source.inputs.items()
    }
    free = {
        name: {axis: dimension for axis, dimension in axes.items() if dimension != batch}
        for name, axes in source.free.items()
    }
    return replace(source, module=source.single, inputs=inputs, free=free)


def _trace(source: GraphSource) -> ir.Model:
    dimensions = {
        name: torch.export.Dim(name) for name in sorted({n for axes in source.free.values() for n in axes.values()})
    }
    shapes = tuple(
        {axis: dimensions[dimension] for axis, dimension in source.free.get(name, {}).items()} for name in source.inputs
    )
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                source.module.eval(),
                tuple(source.inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(source.inputs),
                output_names=list(source.outputs),
                dynamic_shapes=shapes,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    return program.model


def _externalise(initializer: ir.Value, table: manifest_pb2.Table, start: int, tables_file: str) -> None:
    """Refer to the rows of the table that the initializer holds, row start and on."""
    tensor = initializer.const_value
    assert tensor is not None
    n_rows, *row = tensor.shape.numpy()
    # A vector may be taken as a column: to make it one in the graph, ONNX Runtime would copy it.
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


def _share_tables(model: ir.Model) -> None:
    """One initializer for each part of a table, though both branches of a graph have one."""
    first: dict[tuple[int | None, int | None], ir.Value] = {}
    for name, initializer in list(model.graph.initializers.items()):
        tensor = initializer.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        shared = first.setdefault((tensor.offset, tensor.length), initializer)
        if shared is not initializer and shared.shape == initializer.shape:
            initializer.replace_all_uses_with(shared)
            del model.graph.initializers[name]


def _strip(proto: onnx.ModelProto) -> None:
    """Take out where torch says which line of which file on this machine every node comes from.

    Inferred shapes go too: they hold torch's names of dimensions, and ONNX Runtime infers them again.
    """
    graph = proto.graph
    for notes in (graph.value_info, proto.metadata_props, graph.metadata_props):
        del notes[:]
    parts: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.initializer]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""


def _name_dimensions(model: ir.Model, source: GraphSource) -> None:
    for value in model.graph.inputs:
        assert value.shape is not None
        name = value.name or ""
        for axis, dimension in {**source.free.get(name, {}), **source.aliases.get(name, {})}.items():
            if isinstance(value.shape[axis], int):
                raise ValueError(f"dimension {axis} of input {name} has become constant: len() of a tensor does that")
            value.shape[axis] = dimension
