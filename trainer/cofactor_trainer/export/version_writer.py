"""Writes a trained model as a version directory (docs/model-format.md)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.export.ann_index_builder import INDEX_FILE, write_index
from cofactor_trainer.export.atomic_directory import sync_directory, version_draft
from cofactor_trainer.export.manifest import check_names, describe, epoch, file_entry, fingerprint
from cofactor_trainer.export.table_file import write_tables
from cofactor_trainer.export.verification.parity import compare
from cofactor_trainer.export.version_arrays import catalogue_arrays, log_popularity, model_arrays, rated_arrays
from cofactor_trainer.export.version_graphs import version_graphs
from cofactor_trainer.graphs.empirical_bayes import empirical_prior, ranking_prior
from cofactor_trainer.graphs.exact_top_k import TWO_STAGE_ITEMS
from cofactor_trainer.graphs.item_codes import quantize
from cofactor_trainer.graphs.item_columns import item_columns
from cofactor_trainer.graphs.onnx_writer import write_graph
from cofactor_trainer.graphs.shared_tables import whole_tables
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.epochs import EpochResult

TABLES_FILE = "tables.bin"
MANIFEST_FILE = "manifest.json"
SEAL_FILE = "manifest.sha256"
GOLDEN_FILE = "golden.npz"

# What the score of an item is made of.
ITEM_SCORES = ("item_factors", "item_bias", "item_log_popularity")

Quantization = Literal["int8"]


def export_version(
    model: TrainedModel,
    dataset: RatingsDataset,
    models_dir: Path,
    name: str,
    version: str | None,
    *,
    metrics: Mapping[str, float],
    hyperparameters: Mapping[str, str],
    history: Sequence[EpochResult] = (),
    quantize_to: Quantization | None = None,
    approximate: bool = False,
) -> Path:
    """Write models_dir/name/version, by default named after the time, and publish it by one rename.

    quantize_to="int8" lets Recommend look for candidates among 8-bit item factors, scored exactly afterwards; the
    recall is measured and becomes a metric of the version. approximate=True adds an index of candidates, which a server
    may use instead of scoring every item; its recall becomes metrics too. Both are for dot products only.

    Raises:
        MissingExtraError: an index is asked for, and faiss is not installed.
        ValueError: a name that docs/model-format.md does not allow, or a model that is not of this data set.
        FileExistsError: the version is there; versions are never changed.
        ParityError: an exported graph does not answer what torch answers.
    """
    now = datetime.now(UTC)
    version = version or now.strftime("%Y%m%dT%H%M%SZ")
    check_names(name, version)
    _check_shapes(model, dataset)
    if quantize_to is not None and model.layers:
        raise ValueError(
            f"quantize_to={quantize_to}: only a dot-product model can be quantized, not a {model.architecture}"
        )
    if approximate and model.layers:
        raise ValueError(f"approximate: only a dot-product model can have an index, not a {model.architecture}")
    place = models_dir / name / version
    if place.exists():
        raise FileExistsError(f"version {version} of model {name} exists; versions are never changed, choose another")
    with version_draft(place) as draft:
        manifest = describe(model, dataset, name, version)
        manifest.train_time.FromDatetime(now)
        manifest.metrics.update(metrics)
        manifest.hyperparameters.update(hyperparameters)
        manifest.epochs.extend(epoch(result) for result in history)
        _write(draft, manifest, model, dataset, quantize_to, approximate=approximate)
    return place


def _write(
    draft: Path,
    manifest: manifest_pb2.Manifest,
    model: TrainedModel,
    dataset: RatingsDataset,
    quantize_to: Quantization | None,
    *,
    approximate: bool,
) -> None:
    prior = empirical_prior(model, dataset) if model.objective == "rating" else ranking_prior(model, dataset)
    arrays = model_arrays(model, prior)
    arrays["item_log_popularity"] = log_popularity(dataset)
    if quantize_to is not None:
        arrays |= quantize(*(arrays[name] for name in ("user_factors", *ITEM_SCORES)))
    elif dataset.n_items >= TWO_STAGE_ITEMS and not model.layers:
        arrays["item_columns"] = item_columns(*(arrays[name] for name in (*ITEM_SCORES, "item_inverse_norms")))
    manifest.embedding_space = fingerprint(model, arrays)
    rated = rated_arrays(dataset)
    manifest.tables.extend(write_tables(draft / TABLES_FILE, {**arrays, **catalogue_arrays(dataset), **rated}))
    if prior.profile is not None:
        manifest.profile_features.extend(prior.profile.features)
    tables = {table.name: table for table in manifest.tables}
    golden: dict[str, npt.NDArray[Any]] = {}
    for name, graph in version_graphs(model, dataset, prior, arrays).items():
        path = draft / f"{name}.onnx"
        write_graph(graph.source, path, tables, TABLES_FILE)
        answers = compare(path, graph)
        for number, (inputs, outputs) in enumerate(answers):
            golden |= {f"{name}/{number}/in/{key}": value for key, value in inputs.items()}
            golden |= {f"{name}/{number}/out/{key}": value for key, value in outputs.items()}
        manifest.graphs.add(name=name, path=path.name, tables=whole_tables(path, manifest.tables))
        if graph.recall is not None:
            metric, measure = graph.recall
            manifest.metrics[metric] = measure(path)
    if approximate:
        # Without popularity, and as the model ranks by default.
        weights = sorted({0.0, manifest.default_popularity_weight})
        index, recalls = write_index(draft / INDEX_FILE, arrays | rated, weights)
        manifest.approximate_index.CopyFrom(index)
        manifest.metrics.update(recalls)
    with (draft / GOLDEN_FILE).open("wb") as file:
        np.savez(file, **golden)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    manifest.files.extend(file_entry(path) for path in sorted(draft.iterdir()))
    content = json_format.MessageToJson(manifest, ensure_ascii=False)
    _write_synced(draft / SEAL_FILE, f"{hashlib.sha256(content.encode()).hexdigest()}  {MANIFEST_FILE}\n")
    _write_synced(draft / MANIFEST_FILE, content)
    sync_directory(draft)


def _write_synced(path: Path, content: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as text:
        text.write(content)
        text.flush()
        os.fsync(text.fileno())


def _check_shapes(model: TrainedModel, dataset: RatingsDataset) -> None:
    wanted = {
        "user_factors": dataset.n_users,
        "user_bias": dataset.n_users,
        "item_factors": dataset.n_items,
        "item_bias": dataset.n_items,
    }
    for field, count in wanted.items():
        array = getattr(model, field)
        if len(array) != count + 1:
            raise ValueError(f"{field} has {len(array)} rows; the data set {dataset.name} asks for {count + 1}")
        if not np.isfinite(array).all():
            raise ValueError(f"{field} has values that are not finite: training diverged; lower the learning rate")
    if min(wanted.values()) < 1:
        raise ValueError(f"the data set {dataset.name} has no users or no items")
