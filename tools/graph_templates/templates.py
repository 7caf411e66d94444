"""Make the templates of a graph, and compare them with fresh traces."""

from __future__ import annotations

import numpy as np
import torch

from cofactor_trainer.graphs.graph_spec import OnnxGraph
from cofactor_trainer.graphs.templates.instantiation import graph_from_template
from cofactor_trainer.graphs.tracing import trace
from tools.graph_templates.cases import Kind, Range, make_spec
from tools.graph_templates.derivation import NoTemplateError, Trace, derive_template

MOST_ITEMS, MOST_FACTORS = 49_990, 510
EVERYTHING = Range(5, MOST_ITEMS, 4, MOST_FACTORS)
# Where the graphs of one range differ, because the exporter computes constants of up to 8192 numbers itself, the range
# is divided at a matrix of that size.
PARTS = (Range(5, MOST_ITEMS, 4, 43), Range(5, MOST_ITEMS, 92, MOST_FACTORS))
PLACES = ("fewest", "most factors", "most items")
SEED_OF_CHECK = 100


def make_templates(graph: tuple[Kind, str]) -> tuple[dict[str, bytes], str | None]:
    """Return the templates of a graph by file name, and what went wrong."""
    torch.set_num_threads(1)
    try:
        return dict([_make(graph, EVERYTHING, "all")]), None
    except NoTemplateError as error:
        problem = str(error)
    try:
        return dict(_make(graph, part, str(number)) for number, part in enumerate(PARTS)), None
    except NoTemplateError as error:
        return {}, f"{problem}; in parts: {error}"


def _make(graph: tuple[Kind, str], sizes: Range, part: str) -> tuple[str, bytes]:
    traces = [Trace.of(make_spec(*graph, sizes, place, seed)) for seed, place in enumerate(PLACES)]
    template = derive_template(traces)
    kind, name = graph
    label = f"{name} of {kind.label}".replace(" ", "-")
    return f"{label}.{traces[0].parameters.digest}.{part}.onnx", template.SerializeToString(deterministic=True)


def check_templates(graph: tuple[Kind, str]) -> list[str]:
    """Compare the templates of a graph with fresh traces, and return the differences."""
    torch.set_num_threads(1)
    found = []
    for sizes in PARTS:
        spec = make_spec(*graph, sizes, "anywhere", SEED_OF_CHECK)
        filled = graph_from_template(spec)
        if filled is None:
            found.append(f"there is no template for {sizes}")
        else:
            found += differences(filled, trace(spec))
    return found


def differences(one: OnnxGraph, other: OnnxGraph) -> list[str]:
    """Return in which ways two graphs are not the same, byte for byte."""
    found = []
    if one.proto.SerializeToString(deterministic=True) != other.proto.SerializeToString(deterministic=True):
        found.append("the nodes, inputs or outputs differ")
    if list(one.initializers) != list(other.initializers):
        found.append("the names of the initializers differ")
        return found
    for name, value in one.initializers.items():
        expected = other.initializers[name]
        if value.dtype != expected.dtype or not np.array_equal(value, expected):
            found.append(f"initializer {name} differs")
    return found
