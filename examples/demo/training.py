"""Train and export the demo's models, and compare the exported graphs with torch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from examples.demo.display import console
from examples.demo.paths import HELD_OUT, MODELS, ROOT

if TYPE_CHECKING:
    from cofactor_server.repository.version_directory import VersionDirectory

RECIPES = {"dot-product": "dot-bias", "neural-net": "neural-net"}
VERSION = "1"
HELD_OUT_FRACTION = 0.2
SPLIT_SEED = 42


def ensure_model(name: str, recipe: str) -> None:
    """Train and export a model, unless a previous run did. Prints its accuracy.

    A version directory that is damaged, or that an older release exported without a ranking part or a map, is moved
    aside.
    """
    from cofactor_server.errors import ModelRefused
    from cofactor_server.repository.version_directory import open_version_directory

    path = MODELS / name / VERSION
    try:
        version_directory = open_version_directory(path)
        fault = _missing_part(version_directory)
    except ModelRefused:
        fault = "damaged"
    if fault:
        if path.exists():
            replaced = path.with_name(f".replaced-{time.time_ns()}")
            path.rename(replaced)
            console.print(f"{name}: {fault}, moved to {replaced.name}")
        _train(name, recipe)
        version_directory = open_version_directory(path)
    else:
        n_files = len(version_directory.manifest.files)
        console.print(f"{name}: trained by a previous run, the checksums of its {n_files} files are right")
    show_parity(path)
    console.print(f"{name}: held-out RMSE {version_directory.manifest.metrics['rmse']:.4f}")


def _missing_part(version: VersionDirectory) -> str:
    """Return what an older release did not export, or an empty string."""
    if not version.manifest.ranking_factor_count:
        return "has no ranking part"
    return "" if "item_map" in version.tables else "has no map of its items"


def _train(name: str, recipe: str) -> None:
    options = {
        "--dataset": "ml-latest-small",
        "--recipe": recipe,
        "--output": str(MODELS.relative_to(ROOT)),
        "--name": name,
        "--version": VERSION,
        "--validation-fraction": str(HELD_OUT_FRACTION),
        "--split-seed": str(SPLIT_SEED),
        # The tour compares predictions with held-out ratings, so the model must not have seen them.
        "--export": "judged",
    }
    words = [word for option in options.items() for word in option]
    done = subprocess.run([sys.executable, "-m", "cofactor_trainer", *words], cwd=ROOT)  # noqa: S603 - our own words
    if done.returncode:
        raise SystemExit(f"error: training the {name} model failed with status {done.returncode}")


def show_parity(version: Path) -> None:
    """Run the golden cases of a version in ONNX Runtime and print the largest difference from torch's results."""
    import onnxruntime

    golden = np.load(version / "golden.npz")
    cases = sorted({tuple(key.split("/")[:2]) for key in golden.files})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = {
        graph: onnxruntime.InferenceSession(version / f"{graph}.onnx", options, providers=["CPUExecutionProvider"])
        for graph in {graph for graph, _ in cases}
    }
    largest: dict[str, float] = {}
    for graph, case in cases:
        difference = _largest_difference(sessions[graph], golden, f"{graph}/{case}")
        largest[graph] = max(largest.get(graph, 0.0), difference)
    shown = ", ".join(f"{graph} {difference:.0e}" for graph, difference in sorted(largest.items()))
    console.print(f"export parity, largest difference from torch in {len(cases)} golden cases: {shown}", soft_wrap=True)


def _largest_difference(session: Any, golden: Mapping[str, npt.NDArray[Any]], case: str) -> float:
    """Run one golden case. Returns the largest difference of its floating-point outputs, relative above 1."""
    is_ranked = f"{case}/out/scores" in golden
    inputs = {i.name: golden[f"{case}/in/{i.name}"] for i in session.get_inputs()}
    largest = 0.0
    for output, actual in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        expected = golden[f"{case}/out/{output.name}"]
        # Items with equal scores may come in any order, so only the scores of a ranked list are compared.
        if expected.dtype.kind == "f" and (output.name == "scores" or not is_ranked):
            difference = np.abs(actual - expected) / np.maximum(1, np.abs(expected))
            largest = max(largest, float(difference[expected > -1e29].max(initial=0)))
    return largest


def load_held_out() -> pd.DataFrame:
    """Return ratings that the models have not seen, of users and items that they know: user_id, item_id, rating."""
    if not HELD_OUT.exists():
        _write_held_out()
    return pd.read_csv(HELD_OUT, dtype={"user_id": str, "item_id": str})


def _write_held_out() -> None:
    """Split the ratings as the training did and write the part that it held out."""
    from cofactor_trainer.data.movielens import load_embedded_small
    from cofactor_trainer.data.splits import random_split

    validation = random_split(load_embedded_small(), HELD_OUT_FRACTION, SPLIT_SEED).validation
    known = (validation.user_rows < validation.n_users) & (validation.item_rows < validation.n_items)
    pd.DataFrame(
        {
            "user_id": np.array(validation.user_ids, object)[validation.user_rows[known]],
            "item_id": np.array(validation.catalogue.item_ids, object)[validation.item_rows[known]],
            "rating": validation.ratings[known],
        }
    ).to_csv(HELD_OUT, index=False)
