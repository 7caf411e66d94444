"""One graph of two, of which the size of the batch chooses one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def by_batch_size(one: ir.Model, many: ir.Model) -> ir.Model:
    """A model that answers as `one` where the first dimension of the first input is 1, and otherwise as `many`.

    Both have the same inputs and outputs, by name. The initializers belong to the new graph, not to the branches.
    """
    inputs = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in many.graph.inputs]
    outputs = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in many.graph.outputs]
    initializers = [
        *_become_branch(one.graph, inputs, "one"),
        *_become_branch(many.graph, inputs, "many"),
    ]
    single = ir.Value(name="one_row", const_value=ir.tensor(np.array([1]), name="one_row"))
    size = ir.node("Shape", [inputs[0]], {"start": 0, "end": 1}, name="batch_size")
    is_single = ir.node("Equal", [size.outputs[0], single], name="is_single")
    branches = {
        "then_branch": ir.AttrGraph("then_branch", one.graph),
        "else_branch": ir.AttrGraph("else_branch", many.graph),
    }
    choice = ir.Node("", "If", [is_single.outputs[0]], list(branches.values()), outputs=outputs, name="by_batch_size")
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=[size, is_single, choice],
        initializers=[single, *initializers],
        opset_imports={**one.graph.opset_imports, **many.graph.opset_imports},
        name="by_batch_size",
    )
    return ir.Model(graph, ir_version=many.ir_version, functions=[*one.functions.values(), *many.functions.values()])


def _become_branch(graph: ir.Graph, inputs: list[ir.Value], prefix: str) -> list[ir.Value]:
    """Take a graph's inputs from around it, and its initializers out of it; no name of it is left as it was."""
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
