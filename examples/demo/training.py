"""The models that the demo serves: trained and exported once, and compared with torch."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from examples.demo.display import console
from examples.demo.state import HELD_OUT, MODELS, ROOT

RECIPES = {"dot-product": "dot-bias", "neural-net": "neural-net"}
VERSION = "1"
HELD_OUT_FRACTION = 0.2
SPLIT_SEED = 42


def train(name: str, recipe: str) -> None:
    """A version directory of the model, unless it is there and intact; then how far its graphs are from torch."""
    from cofactor_server.errors import ModelRefused
    from cofactor_server.repository.version_directory import open_version_directory

    place = MODELS / name / VERSION
    try:
        bundle = open_version_directory(place)
        console.print(f"{name}: trained before, {len(bundle.manifest.files)} files with the right checksums")
    except ModelRefused:
        if place.exists():
            broken = place.with_name(f".broken-{time.time_ns()}")
            place.rename(broken)
            console.print(f"{name}: damaged, moved to {broken.name}")
        flags = {
            "--dataset": "ml-latest-small",
            "--recipe": recipe,
            "--output": str(MODELS.relative_to(ROOT)),
            "--name": name,
            "--version": VERSION,
            "--validation-fraction": str(HELD_OUT_FRACTION),
            "--split-seed": str(SPLIT_SEED),
        }
        words = [word for flag in flags.items() for word in flag]
        done = subprocess.run([sys.executable, "-m", "cofactor_trainer", *words], cwd=ROOT)  # noqa: S603 - our own words
        if done.returncode:
            raise SystemExit(f"error: training the {name} model failed with status {done.returncode}") from None
        bundle = open_version_directory(place)
    parity(bundle.path)
    console.print(f"{name}: held-out RMSE {bundle.manifest.metrics['rmse']:.4f}")


def parity(version: Path) -> None:
    """Runs the golden cases in ONNX Runtime and prints how far the answers are from torch's."""
    import onnxruntime

    golden = np.load(version / "golden.npz")
    worst: dict[str, float] = {}
    cases = sorted({tuple(key.split("/")[:2]) for key in golden.files})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = {
        graph: onnxruntime.InferenceSession(version / f"{graph}.onnx", options, providers=["CPUExecutionProvider"])
        for graph in {graph for graph, _ in cases}
    }
    for graph, case in cases:
        session = sessions[graph]
        ranked = f"{graph}/{case}/out/scores" in golden.files
        inputs = {i.name: golden[f"{graph}/{case}/in/{i.name}"] for i in session.get_inputs()}
        for output, found in zip(session.get_outputs(), session.run(None, inputs), strict=True):
            wanted = golden[f"{graph}/{case}/out/{output.name}"]
            # Where two items score alike either may come first: of ranked lists only the scores are comparable.
            if wanted.dtype.kind == "f" and (output.name == "scores" or not ranked):
                error = np.abs(found - wanted) / np.maximum(1, np.abs(wanted))
                worst[graph] = max(worst.get(graph, 0.0), float(error[wanted > -1e29].max(initial=0)))
    shown = ", ".join(f"{graph} {error:.0e}" for graph, error in sorted(worst.items()))
    console.print(f"export parity, largest difference from torch in {len(cases)} golden cases: {shown}", soft_wrap=True)


def hold_out() -> pd.DataFrame:
    """The ratings that neither model has seen, of users and items that both know: user_id, item_id, rating."""
    if not HELD_OUT.exists():
        write_held_out()
    return pd.read_csv(HELD_OUT, dtype={"user_id": str, "item_id": str})


def write_held_out() -> None:
    """Splits as the training did, and keeps the part that it left out."""
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
