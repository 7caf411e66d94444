"""Join two graphs into one that switches between them on a condition of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from cofactor_trainer.graphs.graph_spec import Condition


def switch_graphs(condition: Condition, special: ir.Model, general: ir.Model) -> ir.Model:
    """Return a model that runs `special` where the condition holds, and `general` otherwise.

    Both models must have the same input and output names. The initializers belong to the new graph, not to its
    branches.
    """
    inputs = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in general.graph.inputs]
    outputs = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in general.graph.outputs]
    initializers = [
        *_turn_into_branch(special.graph, inputs, "special"),
        *_turn_into_branch(general.graph, inputs, "general"),
    ]
    constants, nodes = _one_row(inputs) if condition == "one row" else _no_rating_weight(inputs)
    branches = {
        "then_branch": ir.AttrGraph("then_branch", special.graph),
        "else_branch": ir.AttrGraph("else_branch", general.graph),
    }
    switch = ir.Node("", "If", [nodes[-1].outputs[0]], list(branches.values()), outputs=outputs, name="switch")
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=[*nodes, switch],
        initializers=[*constants, *initializers],
        opset_imports={**special.graph.opset_imports, **general.graph.opset_imports},
        name="switch",
    )
    functions = [*special.functions.values(), *general.functions.values()]
    return ir.Model(graph, ir_version=general.ir_version, functions=functions)


def _one_row(inputs: Sequence[ir.Value]) -> tuple[list[ir.Value], list[ir.Node]]:
    """Build the constants and nodes of the condition "one row"; the last node computes it."""
    one = ir.Value(name="one_row", const_value=ir.tensor(np.array([1]), name="one_row"))
    size = ir.node("Shape", [inputs[0]], {"start": 0, "end": 1}, name="batch_size")
    return [one], [size, ir.node("Equal", [size.outputs[0], one], name="is_one_row")]


def _no_rating_weight(inputs: Sequence[ir.Value]) -> tuple[list[ir.Value], list[ir.Node]]:
    """Build the constants and nodes of the condition "no rating weight"; the last node computes it."""
    weights = next(value for value in inputs if value.name == "order_weights")
    column = ir.Value(name="rating_column", const_value=ir.tensor(np.array(0), name="rating_column"))
    zero = ir.Value(name="no_weight", const_value=ir.tensor(np.array(0, np.float32), name="no_weight"))
    rating_weights = ir.node("Gather", [weights, column], {"axis": 1}, name="rating_weights")
    sizes = ir.node("Abs", [rating_weights.outputs[0]], name="rating_weight_sizes")
    largest = ir.node("ReduceMax", [sizes.outputs[0]], {"keepdims": 0}, name="largest_rating_weight")
    return [column, zero], [
        rating_weights,
        sizes,
        largest,
        ir.node("Equal", [largest.outputs[0], zero], name="has_no_rating_weight"),
    ]


def _turn_into_branch(graph: ir.Graph, inputs: list[ir.Value], prefix: str) -> list[ir.Value]:
    """Turn a graph into a branch: it reads the outer graph's inputs, gives up its initializers, and prefixes its names.

    Returns:
        The initializers, for the outer graph.
    """
    for value, outer in zip(graph.inputs, inputs, strict=True):
        value.replace_all_uses_with(outer)
    del graph.inputs[:]
    initializers = list(graph.initializers.values())
    graph.initializers.clear()
    for node in graph.all_nodes():
        node.name = f"{prefix}.{node.name}"
        for value in node.outputs:
            value.name = f"{prefix}.{value.name}"
    for value in initializers:
        value.name = f"{prefix}.{value.name}"
    graph.name = prefix
    return initializers
