"""Writes a trained model as a version directory (docs/model-format.md)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from google.protobuf import json_format

from cofactor.v1 import manifest_pb2
from cofactor_trainer.bundle import catalogue_arrays, log_popularity, model_arrays, rated_arrays
from cofactor_trainer.dataset import RatingsDataset
from cofactor_trainer.empirical_bayes import empirical_prior, ranking_prior
from cofactor_trainer.fold_in import EmbedRankingUser, EmbedUser
from cofactor_trainer.golden import Case, CaseMaker
from cofactor_trainer.graph_sources import (
    embed_user_source,
    predict_source,
    recommend_source,
    similar_items_source,
    similarity_source,
)
from cofactor_trainer.graphs import Scorer
from cofactor_trainer.manifest import describe, epoch, file_entry, fingerprint
from cofactor_trainer.onnx_file import GraphSource, write_graph
from cofactor_trainer.parity import Compute, compare
from cofactor_trainer.prior import UserPrior
from cofactor_trainer.reference import Reference
from cofactor_trainer.table_file import write_tables
from cofactor_trainer.trained import TrainedModel
from cofactor_trainer.training import EpochResult

TABLES_FILE = "tables.bin"
MANIFEST_FILE = "manifest.json"
SEAL_FILE = "manifest.sha256"
GOLDEN_FILE = "golden.npz"

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
) -> Path:
    """Write models_dir/name/version, by default named after the time, and publish it by one rename.

    Raises:
        ValueError: a name that docs/model-format.md does not allow, or a model that is not of this data set.
        FileExistsError: the version is there; versions are never changed.
        ParityError: an exported graph does not answer what torch answers.
    """
    now = datetime.now(UTC)
    version = version or now.strftime("%Y%m%dT%H%M%SZ")
    _check_names(name, version)
    _check_shapes(model, dataset)
    place = models_dir / name / version
    if place.exists():
        raise FileExistsError(f"version {version} of model {name} exists; versions are never changed, choose another")
    draft = models_dir / name / f".{version}.{os.getpid()}.tmp"
    draft.mkdir(parents=True)
    try:
        manifest = describe(model, dataset, name, version)
        manifest.train_time.FromDatetime(now)
        manifest.metrics.update(metrics)
        manifest.hyperparameters.update(hyperparameters)
        manifest.epochs.extend(epoch(result) for result in history)
        _write(draft, manifest, model, dataset)
        draft.rename(place)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _sync_directory(place.parent)
    return place


@dataclass(frozen=True)
class _Graph:
    """A graph, its cases and what torch answers to them."""

    source: GraphSource
    cases: Sequence[Case]
    compute: Compute
    scores_of: Compute | None = None


def _write(draft: Path, manifest: manifest_pb2.Manifest, model: TrainedModel, dataset: RatingsDataset) -> None:
    prior = empirical_prior(model, dataset) if model.objective == "rating" else ranking_prior(model, dataset)
    arrays = model_arrays(model, prior)
    arrays["item_log_popularity"] = log_popularity(dataset)
    manifest.embedding_space = fingerprint(model, arrays)
    manifest.tables.extend(
        write_tables(draft / TABLES_FILE, {**arrays, **catalogue_arrays(dataset), **rated_arrays(dataset)})
    )
    if prior.profile is not None:
        manifest.profile_features.extend(prior.profile.features)
    tables = {table.name: table for table in manifest.tables}
    golden: dict[str, npt.NDArray[Any]] = {}
    for name, graph in _graphs(model, dataset, prior, arrays).items():
        path = draft / f"{name}.onnx"
        write_graph(graph.source, path, tables, TABLES_FILE)
        answers, _ = compare(path, graph.source.outputs, graph.cases, graph.compute, graph.scores_of)
        for number, (inputs, outputs) in enumerate(answers):
            golden |= {f"{name}/{number}/in/{key}": value for key, value in inputs.items()}
            golden |= {f"{name}/{number}/out/{key}": value for key, value in outputs.items()}
        manifest.graphs.add(name=name, path=path.name)
    with (draft / GOLDEN_FILE).open("wb") as file:
        np.savez(file, **golden)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    manifest.files.extend(file_entry(path) for path in sorted(draft.iterdir()))
    content = json_format.MessageToJson(manifest, ensure_ascii=False)
    _write_synced(draft / SEAL_FILE, f"{hashlib.sha256(content.encode()).hexdigest()}  {MANIFEST_FILE}\n")
    _write_synced(draft / MANIFEST_FILE, content)
    _sync_directory(draft)


def _write_synced(path: Path, content: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as text:
        text.write(content)
        text.flush()
        os.fsync(text.fileno())


def _graphs(
    model: TrainedModel, dataset: RatingsDataset, prior: UserPrior, arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, _Graph]:
    item_log_popularity = torch.from_numpy(arrays["item_log_popularity"])
    inverse_norms = torch.from_numpy(arrays["item_inverse_norms"])
    scorer, maker = Scorer(model), CaseMaker(model)
    reference, cases = Reference(model, item_log_popularity), maker.cases()
    graphs = {
        "predict": _Graph(predict_source(scorer), cases["predict"], reference.predict),
        "recommend": _Graph(
            recommend_source(scorer, item_log_popularity),
            cases["recommend"],
            reference.recommend,
            reference.scores_of_recommended,
        ),
        "similar_items": _Graph(
            similar_items_source(scorer, inverse_norms),
            cases["similar_items"],
            reference.similar_items,
            reference.scores_of_similar,
        ),
        "similarity": _Graph(similarity_source(scorer, inverse_norms), cases["similarity"], reference.similarity),
    }
    fold_in = EmbedUser(scorer, prior) if model.objective == "rating" else EmbedRankingUser(scorer, prior)
    embed_cases = maker.embed_user_cases(dataset, prior.profile)
    graphs["embed_user"] = _Graph(embed_user_source(fold_in), embed_cases, fold_in)
    return graphs


def _check_names(name: str, version: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(
            f"model name {name!r}: use lower-case letters, digits, '.', '_', '-', at most 64, a letter or digit first"
        )
    if not VERSION.fullmatch(version):
        raise ValueError(
            f"version {version!r}: use letters, digits, '.', '_', '-', at most 64, a letter or digit first"
        )


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


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
