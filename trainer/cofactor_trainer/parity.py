"""Compares exported graphs with torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from cofactor_trainer.golden import Case

TOLERANCE = 1e-5
# Scores below are those of excluded rows, whose order means nothing.
EXCLUDED = -1e29

Arrays = dict[str, npt.NDArray[Any]]
Compute = Callable[..., Tensor | tuple[Tensor, ...]]


class ParityError(Exception):
    """An exported graph does not answer what torch answers."""


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """A session as the server makes it: one thread, and no copies of the tables."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(
    path: Path, outputs: Sequence[str], cases: Sequence[Case], compute: Compute, scores_of: Compute | None = None
) -> tuple[list[tuple[Arrays, Arrays]], float]:
    """Run every case in ONNX Runtime and in torch.

    scores_of(rows, **case) gives torch's own scores of the rows that the graph chose: where two items score alike,
    either may come first.

    Returns:
        Each case's inputs and torch's outputs; the largest difference.

    Raises:
        ParityError: when an output differs by more than TOLERANCE (of values above 10: in proportion).
    """
    session = cpu_session(path)
    worst, answers = 0.0, []
    for number, case in enumerate(cases):
        inputs = {name: value.numpy() for name, value in case.items()}
        actual = dict(zip(outputs, session.run(list(outputs), inputs), strict=True))
        with torch.inference_mode():
            computed = compute(**case)
            expected = _named(outputs, computed)
            difference = _difference(actual, expected)
            if scores_of is not None:
                rows = torch.from_numpy(actual[outputs[0]])
                difference = max(difference, _order_difference(actual, scores_of(rows, **case)))
        if not difference <= TOLERANCE:
            raise ParityError(f"{path.name}, case {number}: differs from torch by {difference:.2e}")
        worst = max(worst, difference)
        answers.append((inputs, expected))
    return answers, worst


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


def _order_difference(actual: Mapping[str, npt.NDArray[Any]], scores: Tensor | tuple[Tensor, ...]) -> float:
    """How far the scores that the graph gave its rows are from torch's scores of those rows."""
    assert isinstance(scores, Tensor)
    rows, given = np.atleast_2d(next(iter(actual.values()))), actual["scores"]
    if any(len(np.unique(row)) < len(row) for row in rows):
        return np.inf
    return _relative(given, scores.numpy())


def _relative(given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    excluded = wanted < EXCLUDED
    if not np.array_equal(excluded, given < EXCLUDED):
        return np.inf
    difference = np.abs(given - wanted) / np.maximum(1, np.abs(wanted) / 10)
    return float(np.where(excluded, 0, difference).max(initial=0))
