"""Verify that an exported graph computes the same outputs as torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from cofactor_trainer.errors import TrainerError
from cofactor_trainer.export.verification.golden_inputs import GraphInputs
from cofactor_trainer.graphs.onnx_writer import GraphSpec

TOLERANCE = 1e-5
# Lower scores belong to excluded rows, whose order does not matter.
EXCLUDED = -1e29

Arrays = dict[str, npt.NDArray[Any]]
Compute = Callable[..., Tensor | tuple[Tensor, ...]]


class ParityError(TrainerError):
    """The outputs of an exported graph differ from those of torch."""


class RecallMeasure(Protocol):
    """Function that measures the recall of an exported Recommend graph."""

    def __call__(self, path: Path) -> float:
        """Return the share of the best items that the graph at path finds."""


@dataclass(frozen=True)
class GraphCheck:
    """A graph and how to verify it.

    Attributes:
        spec: graph to export.
        golden_inputs: inputs to compare outputs on.
        compute: torch function that computes the expected outputs of an input.
        compute_for_rows: torch function that computes the outputs after the first for the rows that the graph chose,
            called with the rows and the input. It is needed where items with nearly equal scores may swap places.
        recalls: recall measures by metric name, for a graph that may miss one of the best items.
    """

    spec: GraphSpec
    golden_inputs: Sequence[GraphInputs]
    compute: Compute
    compute_for_rows: Compute | None = None
    recalls: Mapping[str, RecallMeasure] = field(default_factory=dict)


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """Load a graph on the CPU, with one thread and without copies of the tables."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def verify_graph(path: Path, check: GraphCheck) -> list[tuple[Arrays, Arrays]]:
    """Run every golden input in ONNX Runtime and in torch.

    Returns:
        The inputs and torch's outputs of every golden input.

    Raises:
        ParityError: an output differs by more than TOLERANCE, relative to a tenth of its value for values above 10.
    """
    session = cpu_session(path)
    names, golden = check.spec.outputs, []
    for number, golden_input in enumerate(check.golden_inputs):
        inputs = {name: value.numpy() for name, value in golden_input.items()}
        actual = dict(zip(names, session.run(list(names), inputs), strict=True))
        with torch.inference_mode():
            expected = _by_name(names, check.compute(**golden_input))
            difference = _difference(check, golden_input, actual, expected)
        if not difference <= TOLERANCE:
            raise ParityError(f"{path.name}, case {number}: differs from torch by {difference:.2e}")
        golden.append((inputs, expected))
    return golden


def _difference(check: GraphCheck, golden_input: GraphInputs, actual: Arrays, expected: Arrays) -> float:
    if check.compute_for_rows is None:
        return _largest_difference(actual, expected)
    # Only the scores are compared place by place. The other outputs belong to a row and move with it.
    names = check.spec.outputs
    rows = actual[names[0]]
    for_rows = _by_name(names[1:], check.compute_for_rows(torch.from_numpy(rows), **golden_input))
    return max(
        _largest_difference(actual, {"scores": expected["scores"]}),
        _largest_difference(actual, for_rows),
        np.inf if _has_repeated_rows(rows) else 0.0,
    )


def _by_name(names: Sequence[str], computed: Tensor | tuple[Tensor, ...]) -> Arrays:
    values = (computed,) if isinstance(computed, Tensor) else computed
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def _largest_difference(actual: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, npt.NDArray[Any]]) -> float:
    """Return the largest difference of the floating-point outputs; infinite if a shape, type or NaN differs."""
    worst = 0.0
    for name, wanted in expected.items():
        given = actual[name]
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            return np.inf
        if wanted.dtype.kind == "f":
            worst = max(worst, _relative_difference(given, wanted))
    return worst


def _has_repeated_rows(rows: npt.NDArray[Any]) -> bool:
    return any(len(np.unique(row)) < len(row) for row in np.atleast_2d(rows))


def _relative_difference(given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    excluded = wanted < EXCLUDED
    if not np.array_equal(excluded, given < EXCLUDED):
        return np.inf
    difference = np.abs(given - wanted) / np.maximum(1, np.abs(wanted) / 10)
    return float(np.where(excluded, 0, difference).max(initial=0))
