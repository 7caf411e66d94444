"""Write a trained model as a version directory (docs/model-format.md)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from google.protobuf import json_format

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.export.ann_index.builder import INDEX_FILE, write_index
from cofactor_trainer.export.atomic_directory import create_directory_atomically, sync_directory, write_synced
from cofactor_trainer.export.browsing_arrays import browsing_arrays
from cofactor_trainer.export.fitted.probabilities import calibration_entry
from cofactor_trainer.export.held_out_measures import MEASURES_FILE
from cofactor_trainer.export.item_effects import item_effects
from cofactor_trainer.export.lineage import Lineage
from cofactor_trainer.export.manifest import (
    MANIFEST_FILE,
    SEAL_FILE,
    check_names,
    create_manifest,
    describe_orders,
    embedding_space_id,
    epoch_entry,
    file_entry,
)
from cofactor_trainer.export.table_file import write_tables
from cofactor_trainer.export.unrated_items import VersionContent, prepare_content
from cofactor_trainer.export.verification.parity import GraphCheck, ParityError, verify_graph
from cofactor_trainer.export.version_arrays import (
    Arrays,
    catalogue_arrays,
    log_popularity,
    model_arrays,
    rated_arrays,
)
from cofactor_trainer.export.version_graphs import build_graphs
from cofactor_trainer.graphs.item_codes import quantize_items
from cofactor_trainer.graphs.item_columns import build_item_columns
from cofactor_trainer.graphs.onnx_writer import tables_by_initializer, write_graph
from cofactor_trainer.graphs.top_k import LARGE_CATALOGUE_ITEMS
from cofactor_trainer.graphs.user_prior import UserPriors
from cofactor_trainer.memory import return_freed_memory
from cofactor_trainer.scoring.calibration import Calibration
from cofactor_trainer.scoring.trained_model import Order, TrainedModel
from cofactor_trainer.training.epochs import EpochResult

logger = logging.getLogger(__name__)

TABLES_FILE = "tables.bin"
GOLDEN_FILE = "golden.npz"

# Tables that the score of an item is computed from.
SCORE_TABLES = ("item_factors", "item_bias", "item_log_popularity")

Quantization = Literal["int8"]
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"


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
    protocol: MetricsProtocol | None = None,
    rated: RatingsDataset | None = None,
    quantize_to: Quantization | None = None,
    approximate: bool = False,
    lineage: Lineage | None = None,
    calibration: Calibration | None = None,
) -> Path:
    """Write models_dir/name/version and publish it by one rename.

    Args:
        model: model to export.
        dataset: ratings that the model was trained on.
        models_dir: model repository.
        name: name of the model.
        version: name of the version; None for the UTC time, or the next second that no version has.
        metrics: metrics for the manifest.
        hyperparameters: hyper-parameters for the manifest.
        history: results of the epochs, for the manifest.
        protocol: how the metrics were measured; None if that is not known.
        rated: every known rating, in the rows of ``dataset``. Recommend leaves these items out, even if the model was
            not trained on them. None for the ratings of ``dataset``.
        quantize_to: "int8" to let Recommend pick candidates by 8-bit item codes and score those exactly. The recall is
            measured and added to the metrics. For dot products only.
        approximate: True to add an index of candidates, which a server may use instead of scoring every item. Its
            recall is measured and added to the metrics. For dot products only.
        lineage: the version that the training started from; None for a full training.
        calibration: the probabilities of interaction; None for a version without them.

    Returns:
        The version directory.

    Raises:
        MissingExtraError: the index needs faiss, which is not installed.
        ValueError: docs/model-format.md does not allow the name or the version, or the model does not fit the data set
            or the options.
        FileExistsError: the version exists; versions are never changed.
        ParityError: the outputs of an exported graph differ from those of torch.
    """
    now = datetime.now(UTC)
    version = version or version_of_time(models_dir / name, now)
    check_names(name, version)
    _check_model(model, dataset)
    options = _Options(quantize_to, approximate)
    options.check(model)
    target = models_dir / name / version
    if target.exists():
        raise FileExistsError(f"version {version} of model {name} exists; versions are never changed, choose another")
    with create_directory_atomically(target) as temporary:
        content = prepare_content(model, dataset, rated)
        return_freed_memory()
        manifest = create_manifest(content.model, content.dataset, name, version)
        manifest.train_time.FromDatetime(now)
        manifest.metrics.update(metrics)
        manifest.hyperparameters.update(hyperparameters)
        manifest.epochs.extend(epoch_entry(result) for result in history)
        if lineage is not None:
            lineage.describe(manifest)
        if calibration is not None:
            manifest.calibration.CopyFrom(calibration_entry(calibration))
        if protocol is not None:
            manifest.metrics_protocol, manifest.refitted = protocol.text, protocol.refitted
            if protocol.measures is not None:
                write_synced(temporary / MEASURES_FILE, json.dumps(protocol.measures))
        _write_files(temporary, manifest, content, options)
    return target


def version_of_time(model_dir: Path, now: datetime) -> str:
    """Return the name of a new version: the time in UTC, or the next second that is free."""
    moment = now
    while (model_dir / moment.strftime(_TIME_FORMAT)).exists():
        moment += timedelta(seconds=1)
    return moment.strftime(_TIME_FORMAT)


@dataclass(frozen=True)
class MetricsProtocol:
    """How the metrics of a version were measured.

    Attributes:
        text: one sentence for people.
        refitted: True if the exported model was trained on the held-out ratings too, after the metrics were measured.
        measures: HeldOutMeasures.to_json(), for the report; None without held-out ratings.
    """

    text: str
    refitted: bool
    measures: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Options:
    """Optional parts of a version; `export_version` documents them."""

    quantize_to: Quantization | None
    approximate: bool

    def check(self, model: TrainedModel) -> None:
        """Raise ValueError if the model is not a dot product and an option needs one."""
        if self.quantize_to is not None and model.layers:
            raise ValueError(
                f"quantize_to={self.quantize_to}: only a dot-product model can be quantized, not a {model.architecture}"
            )
        if self.approximate and model.layers:
            raise ValueError(f"approximate: only a dot-product model can have an index, not a {model.architecture}")


def _check_model(model: TrainedModel, dataset: RatingsDataset) -> None:
    """Raise ValueError if an array has the wrong length or a value that is not finite, or the data set is empty."""
    lengths = {
        "user_factors": dataset.n_users,
        "user_bias": dataset.n_users,
        "item_factors": dataset.n_items,
        "item_bias": dataset.n_items,
    }
    for field, length in lengths.items():
        array = getattr(model, field)
        if len(array) != length + 1:
            raise ValueError(f"{field} has {len(array)} rows; the data set {dataset.name} needs {length + 1}")
        if not np.isfinite(array).all():
            raise ValueError(f"{field} has values that are not finite: training diverged; lower the learning rate")
    if min(lengths.values()) < 1:
        raise ValueError(f"the data set {dataset.name} has no users or no items")


def _write_files(directory: Path, manifest: manifest_pb2.Manifest, content: VersionContent, options: _Options) -> None:
    model, dataset, priors, rated = content.model, content.dataset, content.priors, rated_arrays(content.rated)
    arrays = _graph_arrays(model, dataset, priors, options.quantize_to)
    # A warm start that keeps the embedding space has named it already.
    manifest.embedding_space = manifest.embedding_space or embedding_space_id(model, arrays)
    catalogue = catalogue_arrays(dataset)
    rating_counts = (dataset.rated or dataset).item_rating_counts()
    catalogue["item_effect"] = item_effects(model, rating_counts)
    catalogue |= browsing_arrays(manifest, model, dataset, priors, rating_counts)
    manifest.tables.extend(write_tables(directory / TABLES_FILE, {**arrays, **catalogue, **rated}))
    if priors.main.profile is not None:
        manifest.profile_features.extend(priors.main.profile.features)
    if content.item_priors is not None:
        manifest.item_features.extend(content.item_priors.features)
    manifest.unrated_item_count = content.n_unrated
    if model.n_ranking_factors:
        describe_orders(manifest, model, arrays["item_log_popularity"])
    golden = _write_graphs(directory, manifest, content, arrays)
    if options.approximate:
        index, recalls = write_index(
            directory / INDEX_FILE, arrays | rated, _index_orders(model, manifest), model.n_ranking_factors
        )
        manifest.approximate_index.CopyFrom(index)
        manifest.metrics.update(recalls)
    with (directory / GOLDEN_FILE).open("wb") as file:
        np.savez(file, **golden)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    manifest.files.extend(file_entry(path) for path in sorted(directory.iterdir()))
    text = json_format.MessageToJson(manifest, ensure_ascii=False)
    write_synced(directory / SEAL_FILE, f"{hashlib.sha256(text.encode()).hexdigest()}  {MANIFEST_FILE}\n")
    write_synced(directory / MANIFEST_FILE, text)
    sync_directory(directory)


def _index_orders(model: TrainedModel, manifest: manifest_pb2.Manifest) -> list[Order]:
    """Return the orders that an index must serve: those of the model, or the rating without and with popularity."""
    if model.n_ranking_factors:
        return list(dict.fromkeys([model.order, model.new_user_order]))
    return [Order(popularity_weight=weight) for weight in sorted({0.0, manifest.default_popularity_weight})]


def _graph_arrays(
    model: TrainedModel, dataset: RatingsDataset, priors: UserPriors, quantize_to: Quantization | None
) -> Arrays:
    """Build the arrays that graphs read."""
    arrays = model_arrays(model, priors)
    arrays["item_log_popularity"] = log_popularity(dataset)
    if quantize_to is not None:
        arrays |= quantize_items(*(arrays[name] for name in ("user_factors", *SCORE_TABLES)))
    elif dataset.n_items >= LARGE_CATALOGUE_ITEMS and not model.layers:
        arrays["item_columns"] = build_item_columns(*(arrays[name] for name in (*SCORE_TABLES, "item_inverse_norms")))
    return arrays


def _write_graphs(directory: Path, manifest: manifest_pb2.Manifest, content: VersionContent, arrays: Arrays) -> Arrays:
    """Write and verify every graph, and add it and its recall to the manifest.

    Returns:
        The golden inputs and outputs, for golden.npz.
    """
    tables = {table.name: table for table in manifest.tables}
    golden: Arrays = {}
    checks = build_graphs(content.model, content.dataset, content.priors, content.item_priors, arrays)
    for name, check in checks.items():
        path = directory / f"{name}.onnx"
        for number, (inputs, outputs) in enumerate(_write_verified(check, path, tables)):
            golden |= {f"{name}/{number}/in/{key}": value for key, value in inputs.items()}
            golden |= {f"{name}/{number}/out/{key}": value for key, value in outputs.items()}
        manifest.graphs.add(name=name, path=path.name, tables=tables_by_initializer(path, manifest.tables))
        manifest.metrics.update({metric: measure(path) for metric, measure in check.recalls.items()})
    return golden


def _write_verified(
    check: GraphCheck, path: Path, tables: Mapping[str, manifest_pb2.Table]
) -> list[tuple[Arrays, Arrays]]:
    """Write a graph and verify it. If it is wrong and was made from a template, trace it and verify it again.

    Returns:
        The inputs and outputs of every golden input.

    Raises:
        ParityError: the traced graph computes something else than torch.
    """
    is_from_template = write_graph(check.spec, path, tables, TABLES_FILE)
    try:
        return verify_graph(path, check)
    except ParityError as error:
        if not is_from_template:
            raise
        logger.warning("the graph of a template is not used, and torch is traced instead: %s", error)
    write_graph(check.spec, path, tables, TABLES_FILE, allow_template=False)
    return verify_graph(path, check)
