"""Compares exported graphs with torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from cofactor_trainer.errors import TrainerError
from cofactor_trainer.export.verification.golden_cases import Case
from cofactor_trainer.graphs.onnx_writer import GraphSource

TOLERANCE = 1e-5
# Scores below are those of excluded rows, whose order means nothing.
EXCLUDED = -1e29

Arrays = dict[str, npt.NDArray[Any]]
Compute = Callable[..., Tensor | tuple[Tensor, ...]]


class ParityError(TrainerError):
    """An exported graph does not answer what torch answers."""


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """A session on the CPU, with one thread and without copies of the tables."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class CheckedGraph:
    """A graph, its cases and what torch answers to them.

    Attributes:
        source: what is exported.
        cases: inputs to compare on.
        compute: the answers, in torch.
        of_rows: torch's own answers (the outputs after the first) for the rows that the graph chose, called with them
            and the case: where two items score alike, either may come first.
        recall: the metric's name and how to measure it on the exported file, for a graph that may miss one of the best.
    """

    source: GraphSource
    cases: Sequence[Case]
    compute: Compute
    of_rows: Compute | None = None
    recall: tuple[str, Callable[[Path], float]] | None = None


def compare(path: Path, graph: CheckedGraph) -> list[tuple[Arrays, Arrays]]:
    """Run every case in ONNX Runtime and in torch: each case's inputs and torch's outputs.

    Raises:
        ParityError: when an output differs by more than TOLERANCE (of values above 10: in proportion).
    """
    session = cpu_session(path)
    outputs, answers = graph.source.outputs, []
    for number, case in enumerate(graph.cases):
        inputs = {name: value.numpy() for name, value in case.items()}
        actual = dict(zip(outputs, session.run(list(outputs), inputs), strict=True))
        with torch.inference_mode():
            expected = _named(outputs, graph.compute(**case))
            if graph.of_rows is None:
                difference = _difference(actual, expected)
            else:
                # Place by place only the scores have to be the same: what else belongs to a row comes with it.
                difference = _difference(actual, {"scores": expected["scores"]})
                chosen = graph.of_rows(torch.from_numpy(actual[outputs[0]]), **case)
                difference = max(
                    difference, _difference(actual, _named(outputs[1:], chosen)), _repeats(actual[outputs[0]])
                )
        if not difference <= TOLERANCE:
            raise ParityError(f"{path.name}, case {number}: differs from torch by {difference:.2e}")
        answers.append((inputs, expected))
    return answers


def _named(outputs: Sequence[str], computed: Tensor | tuple[Tensor, ...]) -> Arrays:
    values = (computed,) if isinstance(computed, Tensor) else computed
    return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}


def _difference(actual: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, npt.NDArray[Any]]) -> float:
    """Largest difference of the floating-point outputs; infinite where a shape or a NaN differs."""
    worst = 0.0
    for name, wanted in expected.items():
        given = actual[name]
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            return np.inf
        if wanted.dtype.kind == "f":
            worst = max(worst, _relative(given, wanted))
    return worst


def _repeats(rows: npt.NDArray[Any]) -> float:
    """Infinite where a row comes twice in one answer."""
    return np.inf if any(len(np.unique(row)) < len(row) for row in np.atleast_2d(rows)) else 0.0


def _relative(given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    excluded = wanted < EXCLUDED
    if not np.array_equal(excluded, given < EXCLUDED):
        return np.inf
    difference = np.abs(given - wanted) / np.maximum(1, np.abs(wanted) / 10)
    return float(np.where(excluded, 0, difference).max(initial=0))
