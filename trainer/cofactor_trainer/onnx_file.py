"""A torch module as an ONNX file whose tables are external."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from cofactor.v1 import manifest_pb2

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
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    free: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]
    aliases: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def write_graph(source: GraphSource, path: Path, tables: Mapping[str, manifest_pb2.Table], tables_file: str) -> None:
    """Export source to path. A buffer named as a table is not written: the graph refers to tables_file."""
    model = _trace(source)
    for name, initializer in list(model.graph.initializers.items()):
        if not initializer.uses():
            del model.graph.initializers[name]
            continue
        table = tables.get(name.rpartition(".")[2])
        if table is not None:
            _externalise(initializer, table, tables_file)
    _name_dimensions(model, source)
    proto = ir.to_proto(model)
    _strip(proto)
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    onnx.checker.check_model(path)


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


def _externalise(initializer: ir.Value, table: manifest_pb2.Table, tables_file: str) -> None:
    tensor = initializer.const_value
    assert tensor is not None
    if list(tensor.shape.numpy()) != list(table.shape) or tensor.dtype.numpy().name != table.dtype:
        raise ValueError(f"initializer {initializer.name} is not the table {table.name}")
    shape = ir.Shape(list(table.shape))
    initializer.const_value = ir.ExternalTensor(
        tables_file, table.offset, tensor.nbytes, tensor.dtype, shape=shape, name=initializer.name or ""
    )


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
        for axis, name in source.aliases.get(value.name or "", {}).items():
            assert value.shape is not None
            value.shape[axis] = name
