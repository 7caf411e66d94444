"""Golden tests: run a version's graphs on stored inputs and compare the outputs with those of torch."""

from __future__ import annotations

import zipfile
from collections import defaultdict

import numpy as np

from cofactor_server.arrays import AnyArray, BoolArray
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.engine import Engine
from cofactor_server.repository.passing_errors import raise_if_passing
from cofactor_server.repository.version_directory import VersionDirectory

TOLERANCE = 1e-4
# The score of an excluded item is below this.
EXCLUDED_BELOW = -1e29

Arrays = dict[str, AnyArray]


def run_golden_tests(directory: VersionDirectory, engine: Engine) -> int:
    """Run every golden test -> their number.

    Raises ModelRefused if an output differs by more than TOLERANCE, or a graph has no golden test; OSError or
    MemoryError if the machine lacks files or memory.
    """
    cases = _read_cases(directory)
    unmatched = {graph.name for graph in directory.manifest.graphs} ^ {graph for graph, _ in cases}
    if unmatched:
        raise ModelRefused(
            f"model {directory.label} refused: its graphs and golden.npz do not match in "
            f"{', '.join(sorted(unmatched))}; export it again"
        )
    for (graph, case), (inputs, expected) in cases.items():
        try:
            outputs = engine.run(graph, inputs)
        except Exception as error:
            raise_if_passing(error)
            raise ModelRefused(
                f"model {directory.label} refused: graph {graph} fails on golden case {case} ({type(error).__name__})"
            ) from None
        difference = _difference(outputs, expected)
        if difference:
            raise ModelRefused(f"model {directory.label} refused: graph {graph}, golden case {case}: {difference}")
    return len(cases)


def _read_cases(directory: VersionDirectory) -> dict[tuple[str, str], tuple[Arrays, Arrays]]:
    """Return the inputs and the expected outputs by graph and case."""
    cases: dict[tuple[str, str], tuple[Arrays, Arrays]] = defaultdict(lambda: ({}, {}))
    try:
        with np.load(directory.golden_path, allow_pickle=False) as archive:
            for key in archive.files:
                graph, case, side, name = key.split("/")
                cases[graph, case][side == "out"][name] = archive[key]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise_if_passing(error)
        raise ModelRefused(f"model {directory.label} refused: golden.npz cannot be read") from None
    return cases


def _difference(outputs: Arrays, expected: Arrays) -> str:
    """Describe the first difference, or return an empty string. Rows may differ only where scores are equal."""
    for name, array in expected.items():
        if name not in outputs or outputs[name].shape != array.shape:
            return f"output {name} is missing or of another shape"
    excluded, moved = np.False_, np.False_
    if "scores" in expected:
        excluded = (outputs["scores"] < EXCLUDED_BELOW) & (expected["scores"] < EXCLUDED_BELOW)  # type: ignore[operator]
    for name in expected.keys() & {"item_rows", "similar_rows"}:
        moved = (outputs[name] != expected[name]) & ~excluded
        if np.any(moved & ~_is_tied(expected["scores"])):
            return f"{name} are in another order than the trainer's"
    for name in expected.keys() - {"item_rows", "similar_rows"}:
        skipped = excluded if name == "scores" else excluded | moved
        error = np.where(skipped, 0, np.abs(outputs[name] - expected[name]))  # type: ignore[operator]
        if not np.all(error <= TOLERANCE):
            return f"{name} differ from the trainer's by up to {np.max(error):.2g}, more than {TOLERANCE:g}"
    return ""


def _is_tied(scores: AnyArray) -> BoolArray:
    """Return (..., k), True where sorted scores (..., k) equal a neighbour.

    The last score counts as tied, because its neighbour may be the first one that is not in the list.
    """
    tied: BoolArray = np.zeros(scores.shape, dtype=bool)
    close = np.abs(np.diff(scores, axis=-1)) <= TOLERANCE
    tied[..., :-1] |= close
    tied[..., 1:] |= close
    tied[..., -1] = True
    return tied
