"""Derive a template from several traces of a graph: find how everything that differs follows from the parameters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from cofactor_trainer.graphs.graph_spec import GraphSpec, OnnxGraph
from cofactor_trainer.graphs.templates.instantiation import METADATA_KEY, LinearForm
from cofactor_trainer.graphs.templates.parameters import GraphParameters, Number, graph_parameters
from cofactor_trainer.graphs.tracing import trace

# Larger arrays of numbers are tables, which must not be part of a template.
LARGEST_CONSTANT = 64
MOST_TERMS = 3
Values = tuple[Number, ...]


class NoTemplateError(Exception):
    """The traces have no common template."""


@dataclass(frozen=True)
class Trace:
    """A traced graph and its parameters."""

    parameters: GraphParameters
    graph: OnnxGraph

    @classmethod
    def of(cls, spec: GraphSpec) -> Trace:
        """Trace a spec."""
        return cls(graph_parameters(spec), trace(spec))


class Parameters:
    """The parameters of all traces.

    Attributes:
        conditions: what a model's parameters must fulfil, as `instantiation.holds` checks it.
    """

    def __init__(self, traces: Sequence[Trace]) -> None:
        names = traces[0].parameters.numbers
        values = {name: tuple(trace.parameters.numbers[name] for trace in traces) for name in names}
        self.conditions: dict[str, Any] = {"fixed": {}, "dependent": {}, "sizes": {}}
        self._free: dict[str, Values] = {}
        for name, numbers in values.items():
            if len(set(numbers)) == 1:
                self.conditions["fixed"][name] = numbers[0]
                continue
            if all(isinstance(number, int) for number in numbers):
                self.conditions["sizes"][name] = [min(numbers), max(numbers)]
            form = self.find(numbers)
            if form is None:
                self._free[name] = numbers
            else:
                self.conditions["dependent"][name] = form

    def derive(self, values: Values, what: str) -> LinearForm:
        """Return the sum of parameters that has these values in the traces.

        Raises:
            NoTemplateError: there is none.
        """
        form = self.find(values)
        if form is None:
            raise NoTemplateError(f"{what}: {values} do not follow from the parameters {self._free}")
        return form

    def find(self, values: Values, rounding: Any = None) -> LinearForm | None:
        """Return the sum with the fewest terms that has these values in the traces, or None."""
        if len(set(values)) == 1:
            return {"": values[0]}
        of_kind = isinstance(values[0], float)
        names = [name for name, numbers in self._free.items() if isinstance(numbers[0], float) == of_kind]
        for n_terms in range(1, MOST_TERMS + 1):
            for chosen in itertools.combinations(names, n_terms):
                for factors in itertools.product((1, -1), repeat=n_terms):
                    form = self._form(values, dict(zip(chosen, factors, strict=True)), rounding)
                    if form is not None:
                        return form
        return None

    def _form(self, values: Values, factors: Mapping[str, int], rounding: Any) -> LinearForm | None:
        sums = [
            sum(factor * self._free[name][number] for name, factor in factors.items()) for number in range(len(values))
        ]
        if rounding is not None:
            return dict(factors) if tuple(map(rounding, sums)) == tuple(map(rounding, values)) else None
        offsets = {value - total for value, total in zip(values, sums, strict=True)}
        if len(offsets) > 1 or (isinstance(values[0], float) and offsets != {0.0}):
            return None
        (offset,) = offsets
        return {**factors, "": offset} if offset else dict(factors)


def derive_template(traces: Sequence[Trace]) -> onnx.ModelProto:
    """Derive the template of a graph from at least three traces.

    Raises:
        NoTemplateError: something differs between the traces that does not follow from the parameters.
    """
    digests = {trace.parameters.digest for trace in traces}
    if len(digests) > 1:
        raise NoTemplateError("the traces are of different graphs")
    parameters = Parameters(traces)
    protos = [onnx.ModelProto.FromString(trace.graph.proto.SerializeToString()) for trace in traces]
    dimensions = _derive_dimensions(protos, parameters)
    for proto in protos[1:]:
        if proto.SerializeToString(deterministic=True) != protos[0].SerializeToString(deterministic=True):
            raise NoTemplateError(f"the nodes differ: {_first_difference(protos[0], proto)}")
    names = [list(trace.graph.initializers) for trace in traces]
    if any(other != names[0] for other in names):
        raise NoTemplateError(f"the initializers differ: {names}")
    recipe = {
        "conditions": parameters.conditions,
        "dimensions": dimensions,
        "initializers": {name: _derive_initializer(name, traces, parameters) for name in names[0]},
    }
    protos[0].metadata_props.add(key=METADATA_KEY, value=json.dumps(recipe, indent=1))
    return protos[0]


def _derive_dimensions(protos: Sequence[onnx.ModelProto], parameters: Parameters) -> list[Any]:
    """Derive the sizes of inputs and outputs, and set them to 0 in the graphs."""
    derived = []
    for kind in ("input", "output"):
        for position, value in enumerate(getattr(protos[0].graph, kind)):
            for axis in range(len(value.type.tensor_type.shape.dim)):
                places = [getattr(p.graph, kind)[position].type.tensor_type.shape.dim[axis] for p in protos]
                sizes = tuple(place.dim_value for place in places)
                if len(set(sizes)) == 1:
                    continue
                derived.append([[kind, position, axis], parameters.derive(sizes, f"size of {value.name}")])
                for place in places:
                    place.dim_value = 0
    return derived


def _derive_initializer(name: str, traces: Sequence[Trace], parameters: Parameters) -> dict[str, Any]:
    values = [trace.graph.initializers[name] for trace in traces]
    if len({value.ndim for value in values}) > 1 or len({value.dtype for value in values}) > 1:
        raise NoTemplateError(f"initializer {name} has different types")
    shape = [
        parameters.derive(tuple(value.shape[axis] for value in values), f"size of {name}")
        for axis in range(values[0].ndim)
    ]
    tables = [trace.parameters.buffers for trace in traces]
    for buffer in _by_likeness(tables[0], name):
        for transposed in (False, True):
            if all(
                _holds(value, table[buffer].numpy(), transposed) for value, table in zip(values, tables, strict=True)
            ):
                return {"buffer": buffer, "transposed": transposed, "shape": shape}
    dtype = values[0].dtype.name
    if all(value.ndim == 2 and np.array_equal(value, np.eye(*value.shape)) for value in values):
        return {"identity": True, "dtype": dtype, "shape": shape}
    if all(value.size and (value == value.flat[0]).all() for value in values):
        values = [value.flat[:1] for value in values]
    if len({value.size for value in values}) > 1 or values[0].size > LARGEST_CONSTANT:
        raise NoTemplateError(f"initializer {name} is computed from tables")
    return {
        "values": [_derive_number(name, column, parameters) for column in zip(*values, strict=True)],
        "dtype": dtype,
        "shape": shape,
    }


def _by_likeness(buffers: Iterable[str], name: str) -> list[str]:
    """Return the names of the buffers, beginning with the one of the initializer's name."""
    return sorted(buffers, key=lambda buffer: buffer != name)


def _holds(value: npt.NDArray[Any], buffer: npt.NDArray[Any], transposed: bool) -> bool:
    """Return True if an initializer has the numbers of a buffer, in any shape."""
    if value.size != buffer.size or value.dtype != buffer.dtype or not value.size:
        return False
    return bool(np.array_equal(value.ravel(), (buffer.T if transposed else buffer).ravel()))


def _derive_number(name: str, column: Sequence[Any], parameters: Parameters) -> LinearForm:
    rounding = column[0].dtype.type if column[0].dtype.kind == "f" else None
    values = tuple(number.item() for number in column)
    form = parameters.find(values, rounding)
    if form is None:
        raise NoTemplateError(f"initializer {name}: {values} do not follow from the parameters")
    return form


def _first_difference(first: onnx.ModelProto, second: onnx.ModelProto) -> str:
    if len(first.graph.node) != len(second.graph.node):
        return f"{len(first.graph.node)} and {len(second.graph.node)} of them"
    for one, other in zip(first.graph.node, second.graph.node, strict=True):
        if one != other:
            return f"{one} and {other}"
    return "in inputs, outputs or versions"
