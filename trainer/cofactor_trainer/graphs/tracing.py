"""Trace torch modules to ONNX graphs.

This takes seconds for each graph, and the imports take seconds too. Graphs with a template need neither.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn

from cofactor_trainer.graphs.graph_spec import OPSET, GraphSpec, OnnxGraph
from cofactor_trainer.graphs.graph_switch import switch_graphs


def trace(spec: GraphSpec) -> OnnxGraph:
    """Trace a graph.

    Raises:
        ValueError: a free dimension has become constant.
    """
    model = _trace(spec)
    if spec.special is not None:
        condition, module = spec.special
        special = _single_user_spec(spec, module) if condition == "one row" else replace(spec, module=module)
        model = switch_graphs(condition, _trace(special), model)
    _name_dimensions(model, spec)
    initializers = {}
    for name, value in model.graph.initializers.items():
        if value.uses():
            assert value.const_value is not None
            initializers[name] = value.const_value.numpy()
    model.graph.initializers.clear()
    proto = ir.to_proto(model)
    _strip_metadata(proto)
    return OnnxGraph(proto, initializers)


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
    _strip_graph_metadata(proto.graph)


def _strip_graph_metadata(graph: onnx.GraphProto) -> None:
    del graph.metadata_props[:]
    del graph.value_info[:]
    parts: list[Any] = [*graph.node, *graph.input, *graph.output]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):  # a branch
                _strip_graph_metadata(attribute.g)
