"""Create the manifest of a version."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor.v1 import erasure_pb2, manifest_pb2
from cofactor_trainer.data.dataset import AppliedErasures, Float32Array, RatingsDataset
from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.export.attribute_arrays import attribute_entries
from cofactor_trainer.scoring.numpy_scorer import score_all
from cofactor_trainer.scoring.trained_model import Order, TrainedModel
from cofactor_trainer.training.epochs import EpochResult

# Versions with a ranking part have the second format: a server that reads the first one would order by ratings alone.
FORMAT_VERSION = 1
RANKING_PART_FORMAT = 2
# Versions that learnt from ratings and events have the third: their graph embed_user has inputs that older servers do
# not fill.
RATINGS_AND_EVENTS_FORMAT = 3
MANIFEST_FILE = "manifest.json"
SEAL_FILE = "manifest.sha256"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_names(name: str, version: str) -> None:
    """Refuse names that are not plain folder names, because both become part of paths.

    Raises:
        ValueError: docs/model-format.md does not allow the name or the version.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"model name {name!r}: use lower-case letters, digits, '.', '_' and '-', at most 64, beginning with a "
            "letter or digit"
        )
    if not VERSION.fullmatch(version):
        raise ValueError(
            f"version {version!r}: use letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit"
        )


def default_popularity_weight(model: TrainedModel) -> float:
    """Return the weight of log(rating count + 1) in the order of a model's recommendations."""
    return 1.0 if model.objective == "rating" and not model.n_ranking_factors else 0.0


def create_manifest(model: TrainedModel, dataset: RatingsDataset, name: str, version: str) -> manifest_pb2.Manifest:
    """Create a manifest with everything that is known before the files are written."""
    import torch  # it takes seconds, and publishing needs only the names of this module

    rated = dataset.rated or dataset
    manifest = manifest_pb2.Manifest(
        format_version=_format_version(model, dataset),
        name=name,
        version=version,
        architecture=model.architecture,
        objective=model.objective,
        user_count=dataset.n_users,
        item_count=dataset.n_items,
        rating_count=rated.n_ratings,
        user_factor_count=model.user_factors.shape[1],
        item_factor_count=model.item_factors.shape[1],
        rating_min=rated.rating_min,
        rating_max=rated.rating_max,
        global_bias=model.global_bias,
        dataset=dataset.name,
        producer=f"cofactor {installed_version('cofactor')}, torch {torch.__version__}",
        default_popularity_weight=default_popularity_weight(model),
        item_attributes=attribute_entries(dataset.catalogue.attributes),
    )
    if dataset.events is not None:
        manifest.events.CopyFrom(_events_entry(dataset.events))
    if dataset.erasures is not None:
        manifest.erasures.CopyFrom(_erasures_entry(dataset.erasures))
    if model.rating_range is not None:
        manifest.rating_range.low, manifest.rating_range.high = model.rating_range
    return manifest


def _format_version(model: TrainedModel, dataset: RatingsDataset) -> int:
    if dataset.rated is not None:
        return RATINGS_AND_EVENTS_FORMAT
    return RANKING_PART_FORMAT if model.n_ranking_factors else FORMAT_VERSION


def _events_entry(feedback: EventFeedback) -> manifest_pb2.EventFeedback:
    """Convert the description of events to its manifest message."""
    entry = manifest_pb2.EventFeedback(
        types=[
            manifest_pb2.EventType(
                name=kind.name, weight=kind.weight, negative=kind.is_negative, event_count=round(kind.n_events)
            )
            for kind in feedback.types
        ],
        half_life_seconds=feedback.half_life,
        weight_cap=feedback.weight_cap,
        log_weights=feedback.log_weights,
        fold_in_scale=feedback.fold_in_scale,
        rating_weight=feedback.rating_weight,
        recency_boost=feedback.recency_boost,
        recency_decay=feedback.recency_decay,
    )
    if feedback.newest_time is not None:
        entry.newest_event_time.FromMilliseconds(round(feedback.newest_time * 1000))
    return entry


def _erasures_entry(applied: AppliedErasures) -> erasure_pb2.AppliedErasures:
    """Convert the erasures of a data set to their manifest message."""
    entry = erasure_pb2.AppliedErasures(
        record_count=applied.record_count,
        records_sha256=applied.records_sha256,
        left_out_row_count=applied.left_out_row_count,
    )
    if applied.newest_erase_time is not None:
        entry.newest_erase_time.FromMicroseconds(round(applied.newest_erase_time * 1e6))
    return entry


def order_entry(order: Order) -> manifest_pb2.Order:
    """Convert an order to its manifest message."""
    return manifest_pb2.Order(**asdict(order))


def describe_orders(manifest: manifest_pb2.Manifest, model: TrainedModel, log_popularity: Float32Array) -> None:
    """Add the ranking part of a model to its manifest: log_popularity (n_items + 1,)."""
    manifest.ranking_factor_count = model.n_ranking_factors
    manifest.default_order.CopyFrom(order_entry(model.order))
    manifest.new_user_order.CopyFrom(order_entry(model.new_user_order))
    average_user = np.array([len(model.user_bias) - 1])
    rated = np.flatnonzero(log_popularity[:-1] > 0)
    popularity = log_popularity[rated].astype(np.float64)
    popularity -= popularity.mean()
    spread = float(popularity @ popularity) or 1.0
    for order, field in (
        (Order(1.0, 0.0), "rating_popularity_slope"),
        (Order(0.0, 1.0), "ranking_popularity_slope"),
    ):
        scores = score_all(model, average_user, order)[0][rated].astype(np.float64)
        setattr(manifest, field, float(popularity @ (scores - scores.mean())) / spread)


def epoch_entry(result: EpochResult) -> manifest_pb2.Epoch:
    """Convert the result of an epoch to its manifest message."""
    return manifest_pb2.Epoch(
        number=result.epoch,
        train_loss=result.train_loss,
        validation_loss=result.validation_loss,
        seconds=result.seconds,
    )


def file_entry(path: Path) -> manifest_pb2.File:
    """Describe a file by name, size and checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return manifest_pb2.File(path=path.name, size=path.stat().st_size, sha256=digest.hexdigest())


def embedding_space_id(model: TrainedModel, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Hash everything that gives user factors their meaning: embeddings of one space work in no other."""
    digest = hashlib.sha256(repr((model.architecture, model.global_bias, model.rating_range)).encode())
    parts = [arrays["item_factors"], arrays["item_bias"]]
    parts += [array for layer in model.layers for array in (layer.weight, layer.bias)]
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()[:32]
