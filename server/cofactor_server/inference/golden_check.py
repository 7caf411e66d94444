"""Golden tests: run a version's graphs on stored inputs and compare the outputs with those of torch."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.arrays import AnyArray, BoolArray
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import reason_of
from cofactor_server.repository.passing_errors import raise_if_passing
from cofactor_server.repository.version_directory import VersionDirectory

# Largest difference that counts as rounding, in the unit of its output, or in tenths of a value above ten units. The
# trainer admits half of it (cofactor_trainer.export.verification.tolerances, with the same units).
TOLERANCE = 1e-4
# The score of an excluded item is below this.
EXCLUDED_BELOW = -1e29

Arrays = dict[str, AnyArray]


def run_golden_tests(directory: VersionDirectory, engine: Engine) -> int:
    """Run every golden test -> their number.

    On a device, a graph that fails is left to the CPU. Raises ModelRefused if an output differs on the CPU by more than
    rounding explains, or a graph has no golden test; ProviderUnavailable if a graph fails that the device must run;
    OSError or MemoryError if the machine lacks files or memory.
    """
    cases = _read_cases(directory)
    unmatched = {graph.name for graph in directory.manifest.graphs} ^ {graph for graph, _ in cases}
    if unmatched:
        raise ModelRefused(
            f"model {directory.label} refused: its graphs and golden.npz do not match in "
            f"{', '.join(sorted(unmatched))}; export it again"
        )
    units = _output_units(directory.manifest)
    for (graph, case), (inputs, expected) in cases.items():
        try:
            problem = _difference(engine.run(graph, inputs), expected, units)
        except Exception as error:
            raise_if_passing(error)
            problem = f"the graph fails ({type(error).__name__})"
        if problem:
            raise ModelRefused(f"model {directory.label} refused: graph {graph}, golden case {case}: {problem}")
        _check_device(engine, graph, case, (inputs, expected), units)
    return len(cases)


def _check_device(
    engine: Engine, graph: str, case: str, golden: tuple[Arrays, Arrays], units: Mapping[str, float]
) -> None:
    """Run a case on the device too; leave the graph to the CPU if its outputs differ."""
    if engine.device_graphs is None:
        return
    inputs, expected = golden
    try:
        outputs = engine.run_on_device(graph, inputs)
        problem = "" if outputs is None else _difference(outputs, expected, units)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        problem = reason_of(str(error)) or type(error).__name__
    if problem:
        engine.device_graphs.drop(graph, f"golden case {case}: {problem}")


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


def _output_units(manifest: Manifest) -> dict[str, float]:
    """Return the unit of every output whose unit is not 1.

    Rounding a logit moves a rating by up to a quarter of the sigmoid's range. Without a sigmoid logits are ratings,
    and their terms are as large as the rating scale. A scale of 1 to 5 has the unit 1.
    """
    if manifest.HasField("rating_range"):
        width = manifest.rating_range.high - manifest.rating_range.low
        return dict.fromkeys(("ratings", "fitted"), max(1.0, width / 4))
    if manifest.objective == "ranking":
        return {}
    unit = max(1.0, (manifest.rating_max - manifest.rating_min) / 4)
    return dict.fromkeys(("ratings", "fitted", "logits", "scores", "user_bias", "item_bias"), unit)


def _allowed(expected: AnyArray, unit: float) -> AnyArray:
    """Return the largest difference from every expected value that counts as rounding."""
    allowed: AnyArray = TOLERANCE * np.maximum(unit, np.abs(expected) / 10)
    return allowed


def _difference(outputs: Arrays, expected: Arrays, units: Mapping[str, float]) -> str:
    """Describe the first difference, or return an empty string. Rows may differ only where scores are equal."""
    for name, array in expected.items():
        if name not in outputs or outputs[name].shape != array.shape:
            return f"output {name} is missing or of another shape"
    excluded, moved = np.False_, np.False_
    if "scores" in expected:
        excluded = (outputs["scores"] < EXCLUDED_BELOW) & (expected["scores"] < EXCLUDED_BELOW)  # type: ignore[operator]
    for name in expected.keys() & {"item_rows", "similar_rows"}:
        moved = (outputs[name] != expected[name]) & ~excluded
        if np.any(moved & ~_is_tied(expected["scores"], _allowed(expected["scores"], units.get("scores", 1.0)))):
            return f"{name} are in another order than the trainer's"
    for name in expected.keys() - {"item_rows", "similar_rows"}:
        skipped = excluded if name == "scores" else excluded | moved
        error = np.where(skipped, 0, np.abs(outputs[name] - expected[name]))  # type: ignore[operator]
        allowed = _allowed(expected[name], units.get(name, 1.0))
        if not np.all(error <= allowed):
            return f"{name} differ from the trainer's by up to {np.max(error):.2g}, more than {np.min(allowed):g}"
    return ""


def _is_tied(scores: AnyArray, allowed: AnyArray) -> BoolArray:
    """Return (..., k), True where sorted scores (..., k) differ from a neighbour by no more than is allowed.

    The last score counts as tied, because its neighbour may be the first one that is not in the list.
    """
    tied: BoolArray = np.zeros(scores.shape, dtype=bool)
    close = np.abs(np.diff(scores, axis=-1)) <= allowed[..., 1:]
    tied[..., :-1] |= close
    tied[..., 1:] |= close
    tied[..., -1] = True
    return tied
