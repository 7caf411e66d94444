"""Writes a trained model as a version directory (docs/model-format.md)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from google.protobuf import json_format
from torch import Tensor

from cofactor.v1 import manifest_pb2
from cofactor_trainer.bundle import catalogue_arrays, log_popularity, model_arrays, rated_arrays
from cofactor_trainer.dataset import RatingsDataset
from cofactor_trainer.fold_in import EmbedUser
from cofactor_trainer.golden import Case, CaseMaker
from cofactor_trainer.graphs import Predict, Recommend, Scorer, SimilarItems, Similarity
from cofactor_trainer.onnx_file import GraphSource, write_graph
from cofactor_trainer.parity import Compute, compare
from cofactor_trainer.prior import UserPrior, user_prior
from cofactor_trainer.reference import Reference
from cofactor_trainer.table_file import write_tables
from cofactor_trainer.trained import TrainedModel
from cofactor_trainer.training import EpochResult

FORMAT_VERSION = 1
TABLES_FILE = "tables.bin"
MANIFEST_FILE = "manifest.json"
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
        manifest = _describe(model, dataset, name, version)
        manifest.train_time.FromDatetime(now)
        manifest.metrics.update(metrics)
        manifest.hyperparameters.update(hyperparameters)
        manifest.epochs.extend(_epoch(result) for result in history)
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
    prior = user_prior(model)
    arrays = model_arrays(model, prior)
    arrays["item_log_popularity"] = log_popularity(dataset)
    manifest.embedding_space = _fingerprint(model, arrays)
    manifest.tables.extend(
        write_tables(draft / TABLES_FILE, {**arrays, **catalogue_arrays(dataset), **rated_arrays(dataset)})
    )
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
    manifest.files.extend(_file_entry(path) for path in sorted(draft.iterdir()))
    with (draft / MANIFEST_FILE).open("w", encoding="utf-8") as text:
        text.write(json_format.MessageToJson(manifest, ensure_ascii=False))
        text.flush()
        os.fsync(text.fileno())
    _sync_directory(draft)


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
    embed_user = embed_user_source(scorer, prior)
    embed_cases = maker.embed_user_cases(dataset.rating_min, dataset.rating_max)
    graphs["embed_user"] = _Graph(embed_user, embed_cases, embed_user.module)
    return graphs


def predict_source(scorer: Scorer) -> GraphSource:
    """Graph predict."""
    users = {"user_factors": torch.zeros(2, scorer.n_user_factors), "user_bias": torch.zeros(2)}
    return GraphSource(
        Predict(scorer),
        {**users, "item_rows": torch.zeros(2, dtype=torch.int64)},
        {"user_factors": {0: "N"}, "user_bias": {0: "N"}, "item_rows": {0: "N"}},
        ["logits", "ratings"],
        {"user_factors": {0: "B"}, "user_bias": {0: "B"}},
    )


def recommend_source(scorer: Scorer, item_log_popularity: Tensor) -> GraphSource:
    """Graph recommend."""
    return GraphSource(
        Recommend(scorer, item_log_popularity),
        {
            "user_factors": torch.zeros(2, scorer.n_user_factors),
            "user_bias": torch.zeros(2),
            "popularity_weight": torch.zeros(2),
            "excluded_rows": torch.zeros(2, 3, dtype=torch.int64),
            "k": torch.tensor([2]),
        },
        {
            "user_factors": {0: "B"},
            "user_bias": {0: "B"},
            "popularity_weight": {0: "B"},
            "excluded_rows": {0: "B", 1: "E"},
        },
        ["item_rows", "scores", "ratings"],
    )


def similar_items_source(scorer: Scorer, item_inverse_norms: Tensor) -> GraphSource:
    """Graph similar_items."""
    rows = torch.zeros(2, dtype=torch.int64)
    return GraphSource(
        SimilarItems(scorer, item_inverse_norms),
        {"item_rows": rows, "excluded_rows": rows.repeat(2), "k": torch.tensor([2])},
        {"item_rows": {0: "M"}, "excluded_rows": {0: "E"}},
        ["similar_rows", "scores"],
    )


def similarity_source(scorer: Scorer, item_inverse_norms: Tensor) -> GraphSource:
    """Graph similarity."""
    rows = torch.zeros(2, dtype=torch.int64)
    return GraphSource(
        Similarity(scorer, item_inverse_norms),
        {"item_rows": rows, "candidate_rows": rows.repeat(2)},
        {"item_rows": {0: "M"}, "candidate_rows": {0: "C"}},
        ["scores"],
    )


def embed_user_source(scorer: Scorer, prior: UserPrior) -> GraphSource:
    """Graph embed_user."""
    return GraphSource(
        EmbedUser(scorer, prior),
        {"item_rows": torch.zeros(2, 3, dtype=torch.int64), "ratings": torch.zeros(2, 3)},
        {"item_rows": {0: "B", 1: "N"}, "ratings": {0: "B", 1: "N"}},
        ["user_factors", "user_bias", "fitted"],
    )


def _describe(model: TrainedModel, dataset: RatingsDataset, name: str, version: str) -> manifest_pb2.Manifest:
    manifest = manifest_pb2.Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        version=version,
        architecture=model.architecture,
        objective=model.objective,
        user_count=dataset.n_users,
        item_count=dataset.n_items,
        rating_count=dataset.n_ratings,
        user_factor_count=model.user_factors.shape[1],
        item_factor_count=model.item_factors.shape[1],
        rating_min=dataset.rating_min,
        rating_max=dataset.rating_max,
        global_bias=model.global_bias,
        dataset=dataset.name,
        producer=f"cofactor {installed_version('cofactor')}, torch {torch.__version__}",
        default_popularity_weight=1.0 if model.objective == "rating" else 0.0,
    )
    if model.rating_range is not None:
        manifest.rating_range.low, manifest.rating_range.high = model.rating_range
    return manifest


def _epoch(result: EpochResult) -> manifest_pb2.Epoch:
    return manifest_pb2.Epoch(
        number=result.epoch,
        train_loss=result.train_loss,
        validation_loss=result.validation_loss,
        seconds=result.seconds,
    )


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


def _fingerprint(model: TrainedModel, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Of everything that gives a user's factors their meaning."""
    digest = hashlib.sha256(repr((model.architecture, model.global_bias, model.rating_range)).encode())
    parts = [
        arrays["item_factors"],
        arrays["item_bias"],
        *(a for layer in model.layers for a in (layer.weight, layer.bias)),
    ]
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()[:32]


def _file_entry(path: Path) -> manifest_pb2.File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return manifest_pb2.File(path=path.name, size=path.stat().st_size, sha256=digest.hexdigest())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
