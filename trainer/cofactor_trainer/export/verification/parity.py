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
from cofactor_trainer.export.verification.tolerances import (
    LARGEST_TOLERANCE,
    OWN_ERRORS,
    TOLERANCE,
    relative_difference,
)
from cofactor_trainer.graphs.graph_spec import GraphSpec

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
        compute_exactly: `compute` in float64, or `compute_for_rows` if there is one. It is called only if a difference
            exceeds TOLERANCE, to see how much of it float32 explains; None to allow no more than TOLERANCE.
        units: units of the outputs, by name; `output_units` explains them.
        recalls: recall measures by metric name, for a graph that may miss one of the best items.
    """

    spec: GraphSpec
    golden_inputs: Sequence[GraphInputs]
    compute: Compute
    compute_for_rows: Compute | None = None
    compute_exactly: Compute | None = None
    units: Mapping[str, float] = field(default_factory=dict)
    recalls: Mapping[str, RecallMeasure] = field(default_factory=dict)


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """Load a graph on the CPU, with one thread and without copies of the tables."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class _Difference:
    """The largest difference of an output: its size, as `relative_difference` measures it, and where it is."""

    size: float
    where: str


_NO_DIFFERENCE = _Difference(0.0, "")


def verify_graph(path: Path, check: GraphCheck) -> list[tuple[Arrays, Arrays]]:
    """Run every golden input in ONNX Runtime and in torch.

    Returns:
        The inputs and torch's outputs of every golden input.

    Raises:
        ParityError: an output differs by more than rounding in float32 explains: by more than TOLERANCE, and by more
            than OWN_ERRORS times what torch in float32 differs from torch in float64, or by more than
            LARGEST_TOLERANCE.
    """
    session = cpu_session(path)
    names, golden = check.spec.outputs, []
    for number, golden_input in enumerate(check.golden_inputs):
        inputs = {name: value.numpy() for name, value in golden_input.items()}
        actual = dict(zip(names, session.run(list(names), inputs), strict=True))
        with torch.inference_mode():
            expected = _by_name(names, check.compute(**golden_input))
            difference = _compare(check, golden_input, actual, expected)
            allowed = TOLERANCE if difference.size <= TOLERANCE else _tolerance(check, golden_input, actual, expected)
        if not difference.size <= allowed:
            shapes = ", ".join(f"{name} {value.shape}" for name, value in inputs.items())
            raise ParityError(
                f"{path.name}, case {number}: differs from torch by {difference.size:.2e}, and rounding explains at "
                f"most {allowed:.1e}: {difference.where} (inputs {shapes}). Not the training is at fault, but "
                f"the graph as onnxruntime {onnxruntime.__version__} and torch {torch.__version__} compute it: export "
                "again with the versions of the requirements folder, and report it if they differ as well"
            )
        golden.append((inputs, expected))
    return golden


def _compare(check: GraphCheck, golden_input: GraphInputs, actual: Arrays, expected: Arrays) -> _Difference:
    """Return the largest difference between the graph's outputs and those of torch."""
    if check.compute_for_rows is None:
        return _largest_difference(actual, expected, check.units)
    # Only the scores are compared place by place. The other outputs belong to a row and move with it.
    names = check.spec.outputs
    rows = actual[names[0]]
    if any(len(np.unique(row)) < len(row) for row in np.atleast_2d(rows)):
        return _Difference(np.inf, f"output {names[0]} has a row twice")
    for_rows = _by_name(names[1:], check.compute_for_rows(torch.from_numpy(rows), **golden_input))
    return max(
        _largest_difference(actual, {"scores": expected["scores"]}, check.units),
        _largest_difference(actual, for_rows, check.units),
        key=lambda difference: difference.size,
    )


def _tolerance(check: GraphCheck, golden_input: GraphInputs, actual: Arrays, expected: Arrays) -> float:
    """Return the difference that rounding explains, from the difference of torch in float32 and in float64."""
    if check.compute_exactly is None:
        return TOLERANCE
    names = list(check.spec.outputs)
    if check.compute_for_rows is None:
        single, exact = expected, _by_name(names, check.compute_exactly(**golden_input))
    else:
        rows = torch.from_numpy(actual[names.pop(0)])
        single = _by_name(names, check.compute_for_rows(rows, **golden_input))
        exact = _by_name(names, check.compute_exactly(rows, **golden_input))
    exact = {name: value.astype(single[name].dtype) for name, value in exact.items()}
    own_error = _largest_difference(single, exact, check.units).size
    return min(LARGEST_TOLERANCE, max(TOLERANCE, OWN_ERRORS * own_error))


def _by_name(names: Sequence[str], computed: Tensor | tuple[Tensor, ...]) -> Arrays:
    values = (computed,) if isinstance(computed, Tensor) else computed
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def _largest_difference(
    actual: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, npt.NDArray[Any]], units: Mapping[str, float]
) -> _Difference:
    """Return the largest difference of the floating-point outputs; infinite if a shape, type or NaN differs."""
    worst = _NO_DIFFERENCE
    for name, wanted in expected.items():
        given = actual[name]
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            return _Difference(
                np.inf, f"output {name} is {given.dtype} {given.shape} instead of {wanted.dtype} {wanted.shape}"
            )
        if wanted.dtype.kind != "f" or not wanted.size:
            continue
        sizes = np.nan_to_num(relative_difference(given, wanted, units.get(name, 1.0)), nan=np.inf, posinf=np.inf)
        place = np.unravel_index(np.argmax(sizes), sizes.shape)
        if sizes[place] > worst.size:
            index = ", ".join(map(str, place))
            worst = _Difference(
                float(sizes[place]), f"output {name}[{index}] is {given[place]:.9g} instead of {wanted[place]:.9g}"
            )
    return worst
