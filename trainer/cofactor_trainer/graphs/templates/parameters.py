"""Read from a graph's modules what decides the graph that tracing would give.

The signature is everything that is not a number: classes, names, types. Numbers, which are the sizes of tables and the
numbers among the attributes of the modules, are parameters. Graphs of one signature differ in places that depend on
their parameters only, unless code branches on a number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cofactor_trainer.graphs.graph_spec import OPSET, GraphSpec

Number = int | float

_OF_TORCH = frozenset(vars(nn.Module()))


class UnknownAttributeError(Exception):
    """A module has an attribute that is neither a number, a text, a tensor, a module, nor a sequence of these."""


@dataclass
class GraphParameters:
    """Hold everything that decides a graph.

    Attributes:
        signature: everything but the numbers, in order.
        numbers: parameters by name.
        buffers: the tensors that the graph may contain, by the names of its initializers.
    """

    signature: list[str] = field(default_factory=lambda: [f"opset {OPSET}"])
    numbers: dict[str, Number] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of the signature, for the names of files."""
        return hashlib.sha256(json.dumps(self.signature).encode()).hexdigest()[:12]


def graph_parameters(spec: GraphSpec) -> GraphParameters:
    """Return what decides the graph of a spec.

    Raises:
        UnknownAttributeError: a module has an attribute that cannot be told apart.
    """
    found = GraphParameters()
    _add_inputs(found, spec)
    if spec.special is None:
        _add_module(found, spec.module, "")
        return found
    condition, special = spec.special
    found.signature.append(condition)
    _add_module(found, special, "special.")
    _add_module(found, spec.module, "general.")
    return found


def _add_inputs(found: GraphParameters, spec: GraphSpec) -> None:
    for name, value in spec.inputs.items():
        free = {**spec.dynamic_axes.get(name, {}), **spec.broadcast_axes.get(name, {})}
        found.signature.append(f"input {name} {value.dtype} {value.ndim} {sorted(free.items())}")
        for axis, size in enumerate(value.shape):
            if axis not in free:
                found.numbers[f"input {name} {axis}"] = size
    found.signature.append(f"outputs {list(spec.outputs)}")


def _add_module(found: GraphParameters, module: nn.Module, prefix: str) -> None:
    for path, part in module.named_modules(remove_duplicate=False):
        found.signature.append(f"module {prefix}{path} {type(part).__module__}.{type(part).__qualname__}")
        for name, value in sorted(vars(part).items()):
            if name in _OF_TORCH:
                continue
            for place, kind, number in _parts(value, f"{prefix}{path}.{name}"):
                found.signature.append(f"{place} {kind}")
                if number is not None:
                    found.numbers[place] = number
    tensors = dict(module.named_buffers(remove_duplicate=False)) | dict(module.named_parameters(remove_duplicate=False))
    for name, tensor in sorted(tensors.items()):
        found.signature.append(f"tensor {prefix}{name} {tensor.dtype} {tensor.ndim}")
        found.buffers[prefix + name] = tensor
        for axis, size in enumerate(tensor.shape):
            found.numbers[f"size {prefix}{name} {axis}"] = size


def _parts(value: object, place: str) -> Iterator[tuple[str, str, Number | None]]:
    """Yield the place, the kind and the number of every part of an attribute."""
    if value is None or isinstance(value, bool | str | torch.dtype):
        yield place, repr(value), None
    elif isinstance(value, int | float):
        yield place, type(value).__name__, value
    elif isinstance(value, list | tuple):
        yield place, f"{type(value).__name__} of {len(value)}", None
        for number, part in enumerate(value):
            yield from _parts(part, f"{place}[{number}]")
    elif isinstance(value, slice):
        yield place, "slice", None
        for name in ("start", "stop", "step"):
            yield from _parts(getattr(value, name), f"{place}.{name}")
    else:
        raise UnknownAttributeError(f"{place} is a {type(value).__name__}")
