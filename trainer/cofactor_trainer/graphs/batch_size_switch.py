"""Join two graphs into one that switches between them on the batch size."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def switch_on_batch_size(single: ir.Model, batched: ir.Model) -> ir.Model:
    """Return a model that runs `single` if the first dimension of its first input is 1, and `batched` otherwise.

    Both models must have the same input and output names. The initializers belong to the new graph, not to its
    branches.
    """
    inputs = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in batched.graph.inputs]
    outputs = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in batched.graph.outputs]
    initializers = [
        *_turn_into_branch(single.graph, inputs, "one"),
        *_turn_into_branch(batched.graph, inputs, "many"),
    ]
    one = ir.Value(name="one_row", const_value=ir.tensor(np.array([1]), name="one_row"))
    size = ir.node("Shape", [inputs[0]], {"start": 0, "end": 1}, name="batch_size")
    is_single = ir.node("Equal", [size.outputs[0], one], name="is_single")
    branches = {
        "then_branch": ir.AttrGraph("then_branch", single.graph),
        "else_branch": ir.AttrGraph("else_branch", batched.graph),
    }
    switch = ir.Node("", "If", [is_single.outputs[0]], list(branches.values()), outputs=outputs, name="by_batch_size")
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=[size, is_single, switch],
        initializers=[one, *initializers],
        opset_imports={**single.graph.opset_imports, **batched.graph.opset_imports},
        name="by_batch_size",
    )
    functions = [*single.functions.values(), *batched.functions.values()]
    return ir.Model(graph, ir_version=batched.ir_version, functions=functions)


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
