"""Fill in a template: give it the sizes, the numbers and the tables of a model.

A template is an ONNX graph without initializers. Its metadata say for which parameters it holds, and how every
initializer and every size follows from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from cofactor_trainer.graphs.graph_spec import GraphSpec, OnnxGraph
from cofactor_trainer.graphs.templates.parameters import (
    GraphParameters,
    Number,
    UnknownAttributeError,
    graph_parameters,
)

FOLDER = Path(__file__).parent
METADATA_KEY = "template"

# A sum of parameters: the factor of each by name, and a constant under the name "".
LinearForm = Mapping[str, Number]


def graph_from_template(spec: GraphSpec, folder: Path = FOLDER) -> OnnxGraph | None:
    """Return the graph that tracing would give, from a template; None if no template holds for the parameters."""
    try:
        parameters = graph_parameters(spec)
    except UnknownAttributeError:
        return None
    for path in sorted(folder.glob(f"*.{parameters.digest}.*.onnx")):
        proto = onnx.load(path, load_external_data=False)
        (entry,) = proto.metadata_props
        recipe = json.loads(entry.value)
        if holds(recipe["conditions"], parameters.numbers):
            del proto.metadata_props[:]
            return _fill(proto, recipe, parameters)
    return None


def holds(conditions: Mapping[str, Any], numbers: Mapping[str, Number]) -> bool:
    """Return True if a template holds for the parameters.

    Some parameters must have the value that they had when the template was traced. The sizes must be between the
    smallest and the largest that it was traced with, and some of the parameters depend on others.
    """
    return (
        all(numbers[name] == value for name, value in conditions["fixed"].items())
        and all(numbers[name] == evaluate(form, numbers) for name, form in conditions["dependent"].items())
        and all(low <= numbers[name] <= high for name, (low, high) in conditions["sizes"].items())
    )


def evaluate(form: LinearForm, numbers: Mapping[str, Number]) -> Number:
    """Compute a sum of parameters."""
    return sum((factor * numbers[name] if name else factor for name, factor in form.items()), start=0)


def _fill(proto: onnx.ModelProto, recipe: Mapping[str, Any], parameters: GraphParameters) -> OnnxGraph:
    for (kind, position, axis), form in recipe["dimensions"]:
        value = getattr(proto.graph, kind)[position]
        value.type.tensor_type.shape.dim[axis].dim_value = int(evaluate(form, parameters.numbers))
    return OnnxGraph(proto, {name: _value(source, parameters) for name, source in recipe["initializers"].items()})


def _value(source: Mapping[str, Any], parameters: GraphParameters) -> npt.NDArray[Any]:
    """Return the value of an initializer."""
    numbers = parameters.numbers
    shape = [int(evaluate(form, numbers)) for form in source["shape"]]
    if "buffer" in source:
        buffer = parameters.buffers[source["buffer"]].numpy()
        return np.ascontiguousarray(buffer.T if source["transposed"] else buffer).reshape(shape)
    dtype = np.dtype(source["dtype"])
    if "identity" in source:
        return np.eye(*shape, dtype=dtype)
    values: Sequence[Number] = [evaluate(form, numbers) for form in source["values"]]
    if len(values) == 1:
        return np.full(shape, values[0], dtype)
    return np.array(values, dtype).reshape(shape)
