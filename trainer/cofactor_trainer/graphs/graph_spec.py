"""Describe graphs: what is exported, and an exported graph before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt
import onnx
from torch import Tensor, nn

OPSET = 18

# "one row": the first dimension of the first input is 1. "no rating weight": the first column of the input
# order_weights is 0 everywhere.
Condition = Literal["one row", "no rating weight"]


@dataclass(frozen=True)
class GraphSpec:
    """A torch module and how to export it.

    Attributes:
        module: module to export.
        inputs: example inputs by name; every free dimension is at least 2.
        dynamic_axes: names of the free dimensions, {input: {axis: name}}.
        outputs: output names.
        broadcast_axes: names of axes that are traced as equal to another axis but may also be 1, {input: {axis: name}}.
        special: a condition, and the module to run instead of `module` where it holds; None to always run `module`.
        table_names: names of the tables that buffers hold, by the name of the buffer, where the two differ.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    dynamic_axes: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]
    broadcast_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    special: tuple[Condition, nn.Module] | None = None
    table_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxGraph:
    """An ONNX graph whose initializers are not stored yet.

    Attributes:
        proto: the graph without initializers.
        initializers: value of every initializer, by name.
    """

    proto: onnx.ModelProto
    initializers: Mapping[str, npt.NDArray[Any]]


def table_slice_name(table: str, start: int) -> str:
    """Return the name of a buffer that holds some rows of a table, beginning at row start."""
    return f"{table}_from_{start}"
