"""Does this machine answer as torch did? The golden answers of a version, checked when it is loaded."""

from __future__ import annotations

import zipfile
from collections import defaultdict

import numpy as np

from cofactor_server.arrays import AnyArray, BoolArray
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.engine import Engine
from cofactor_server.repository.version_directory import VersionDirectory

TOLERANCE = 1e-4
EXCLUDED_BELOW = -1e29

Arrays = dict[str, AnyArray]


def check_golden_answers(bundle: VersionDirectory, engine: Engine) -> int:
    """Runs every golden case; returns how many there were.

    Raises ModelRefused when an answer differs by more than 1e-4, or a graph has no case.
    """
    cases = _read_cases(bundle)
    unmatched = {graph.name for graph in bundle.manifest.graphs} ^ {graph for graph, _ in cases}
    if unmatched:
        raise ModelRefused(
            f"model {bundle.label} refused: graphs and golden.npz do not match in {', '.join(sorted(unmatched))}"
        )
    for (graph, case), (inputs, expected) in cases.items():
        try:
            found = engine.run(graph, inputs)
        except Exception as error:
            raise ModelRefused(
                f"model {bundle.label} refused: graph {graph} fails on golden case {case} ({type(error).__name__})"
            ) from None
        problem = _difference(found, expected)
        if problem:
            raise ModelRefused(f"model {bundle.label} refused: graph {graph}, golden case {case}: {problem}")
    return len(cases)


def _read_cases(bundle: VersionDirectory) -> dict[tuple[str, str], tuple[Arrays, Arrays]]:
    cases: dict[tuple[str, str], tuple[Arrays, Arrays]] = defaultdict(lambda: ({}, {}))
    try:
        with np.load(bundle.golden_path, allow_pickle=False) as archive:
            for key in archive.files:
                graph, case, side, name = key.split("/")
                cases[graph, case][side == "out"][name] = archive[key]
    except (OSError, ValueError, zipfile.BadZipFile):
        raise ModelRefused(f"model {bundle.label} refused: golden.npz cannot be read") from None
    return cases


def _difference(found: Arrays, expected: Arrays) -> str:
    """What differs, or an empty string. Rows may differ only among equal scores."""
    for name, wanted in expected.items():
        if name not in found or found[name].shape != wanted.shape:
            return f"output {name} is missing or of another shape"
    excluded, moved = np.False_, np.False_
    if "scores" in expected:
        excluded = (found["scores"] < EXCLUDED_BELOW) & (expected["scores"] < EXCLUDED_BELOW)  # type: ignore[operator]
    for name in expected.keys() & {"item_rows", "similar_rows"}:
        moved = (found[name] != expected[name]) & ~excluded
        if np.any(moved & ~_is_tied(expected["scores"])):
            return f"{name} are in another order than the trainer's"
    for name in expected.keys() - {"item_rows", "similar_rows"}:
        skipped = excluded if name == "scores" else excluded | moved
        error = np.where(skipped, 0, np.abs(found[name] - expected[name]))  # type: ignore[operator]
        if not np.all(error <= TOLERANCE):
            return f"{name} differ from the trainer's by up to {np.max(error):.2g}"
    return ""


def _is_tied(scores: AnyArray) -> BoolArray:
    """Which of sorted scores (..., k) equal a neighbour's; the last one's neighbour may not be in the list."""
    tied: BoolArray = np.zeros(scores.shape, dtype=bool)
    close = np.abs(np.diff(scores, axis=-1)) <= TOLERANCE
    tied[..., :-1] |= close
    tied[..., 1:] |= close
    tied[..., -1] = True
    return tied
