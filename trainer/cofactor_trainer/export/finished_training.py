"""Keep a trained model beside the place of its version until the version is exported, so that no failure loses it.

The file holds arrays and JSON; reading one runs no code.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cofactor_trainer.data.dataset import AppliedErasures, Catalogue, RatingsDataset
from cofactor_trainer.data.events.feedback import EventFeedback, EventType
from cofactor_trainer.data.item_attributes import AttributeColumn, AttributeType, ItemAttributes
from cofactor_trainer.errors import ExportError, InputError, TrainerError
from cofactor_trainer.export.lineage import Lineage
from cofactor_trainer.export.table_file import encode_strings
from cofactor_trainer.export.version_writer import MetricsProtocol, Quantization, export_version
from cofactor_trainer.scoring.calibration import Calibration, Curve
from cofactor_trainer.scoring.trained_model import Layer, Order, TrainedModel
from cofactor_trainer.training.epochs import EpochResult

logger = logging.getLogger(__name__)

SUFFIX = ".trained.npz"
_FORMAT = 1
_META = "meta"
_UNRATED = "unrated/"
_MODEL_ARRAYS = ("user_factors", "user_bias", "item_factors", "item_bias")
_MODEL_FIELDS = ("architecture", "objective", "global_bias", "rating_range", "n_dot_factors", "n_ranking_factors")
_ORDERS = ("order", "new_user_order")
_RATING_ARRAYS = ("user_rows", "item_rows", "ratings", "timestamps")
_RATED_ARRAYS = ("user_rows", "item_rows", "ratings")

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class FinishedTraining:
    """A trained model with everything that its export needs; `export_version` documents the fields."""

    model: TrainedModel
    dataset: RatingsDataset
    name: str
    version: str
    metrics: Mapping[str, float]
    hyperparameters: Mapping[str, str]
    history: tuple[EpochResult, ...] = ()
    protocol: MetricsProtocol | None = None
    rated: RatingsDataset | None = None
    quantize_to: Quantization | None = None
    approximate: bool = False
    lineage: Lineage | None = None
    calibration: Calibration | None = None

    def export(self, models_dir: Path) -> Path:
        """Export the version; `export_version` documents the errors."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        model, dataset, name, version = (options.pop(key) for key in ("model", "dataset", "name", "version"))
        return export_version(model, dataset, models_dir, name, version, **options)


def training_path(models_dir: Path, name: str, version: str) -> Path:
    """Return the place of a finished training: a file beside the version, which servers do not look at."""
    return models_dir / name / f"{version}{SUFFIX}"


@contextmanager
def kept_until_exported(path: Path | None) -> Iterator[None]:
    """Remove the saved training at path if the block ends, and say where it is if the block fails.

    path is None for a training that could not be saved.

    Raises:
        ExportError: an error of the export that the user can read.
    """
    hint = "the trained model is lost"
    if path is not None:
        command = f"cofactor-train export {shlex.quote(str(path))}"
        hint = f"the trained model is kept, and `{command}` repeats the export"
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise type(interruption)(hint) from None
    except (TrainerError, ValueError) as error:
        raise ExportError(f"{error}; {hint}") from error
    except OSError as error:
        raise ExportError(f"the version cannot be written ({error.strerror or error}); {hint}") from error
    except BaseException as error:
        error.add_note(hint)
        raise
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def export_training(training: FinishedTraining, models_dir: Path) -> Path:
    """Export a version; if that fails, the training is kept beside the place of the version."""
    with kept_until_exported(_save(training, models_dir)):
        return training.export(models_dir)


def _save(training: FinishedTraining, models_dir: Path) -> Path | None:
    """Save the training beside the place of its version; return None if that fails, which is no reason to stop."""
    path = training_path(models_dir, training.name, training.version)
    try:
        save_training(training, path)
    except OSError as error:
        logger.warning("the trained model cannot be saved before its export: %s", error)
        return None
    return path


def save_training(training: FinishedTraining, path: Path) -> None:
    """Write a finished training in one step: a process killed at any moment leaves a whole file or none.

    Raises:
        OSError: the file cannot be written.
    """
    model, dataset = training.model, training.dataset
    arrays: Arrays = {f"model/{name}": getattr(model, name) for name in _MODEL_ARRAYS}
    for number, layer in enumerate(model.layers):
        arrays |= {f"layer/{number}/weight": layer.weight, f"layer/{number}/bias": layer.bias}
    for name in _RATING_ARRAYS:
        if getattr(dataset, name) is not None:
            arrays[f"dataset/{name}"] = getattr(dataset, name)
    if training.rated is not None:
        arrays |= {f"rated/{name}": getattr(training.rated, name) for name in _RATED_ARRAYS}
    for owner, part in (("dataset", dataset.rated), ("rated", training.rated and training.rated.rated)):
        if part is not None:
            arrays |= {f"{owner}/rated/{name}": getattr(part, name) for name in _RATED_ARRAYS}
    arrays |= encode_strings("user_ids", dataset.user_ids) | _catalogue_arrays(dataset.catalogue, "")
    if dataset.unrated is not None:
        arrays |= _catalogue_arrays(dataset.unrated, _UNRATED)
    arrays |= encode_strings(_META, [json.dumps(_metadata(training), default=_plain)])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _catalogue_arrays(catalogue: Catalogue, prefix: str) -> Arrays:
    """Return the arrays of a catalogue; `_catalogue_metadata` has the rest of it."""
    arrays: Arrays = {f"{prefix}release_years": catalogue.release_years}
    arrays |= encode_strings(f"{prefix}item_ids", catalogue.item_ids)
    arrays |= encode_strings(f"{prefix}titles", catalogue.titles)
    for number, column in enumerate(catalogue.attributes.columns):
        arrays |= encode_strings(f"{prefix}attribute/{number}/texts", column.texts)
        arrays[f"{prefix}attribute/{number}/values"] = column.values
        if column.offsets is not None:
            arrays[f"{prefix}attribute/{number}/offsets"] = column.offsets
    return arrays


def read_training(path: Path) -> FinishedTraining:
    """Read a finished training.

    Raises:
        InputError: the file is missing, damaged, or of another version of the trainer.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(_strings(arrays, _META)[0])
        if meta["format"] != _FORMAT:
            raise InputError("was saved by another version of the trainer: export it with that one", path)
        training = _training(arrays, meta)
    except FileNotFoundError:
        raise InputError(
            "there is no saved training here: name the file that the failed export printed", path
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path) from None
    except (KeyError, IndexError, TypeError, ValueError, EOFError, AttributeError, zipfile.BadZipFile):
        raise InputError("is not a saved training, or a damaged one: name a file *.trained.npz", path) from None
    return training


def _metadata(training: FinishedTraining) -> dict[str, Any]:
    """Return what is not an array."""
    dataset, profiles = training.dataset, training.dataset.profiles
    return {
        "format": _FORMAT,
        "model": {name: getattr(training.model, name) for name in _MODEL_FIELDS},
        "orders": {name: asdict(getattr(training.model, name)) for name in _ORDERS},
        "dataset": {name: getattr(dataset, name) for name in ("name", "rating_min", "rating_max")},
        "events": None if dataset.events is None else asdict(dataset.events),
        "erasures": None if dataset.erasures is None else asdict(dataset.erasures),
        "rating_scale": None if dataset.rated is None else [dataset.rated.rating_min, dataset.rated.rating_max],
        **_catalogue_metadata(dataset.catalogue),
        "unrated": dataset.unrated and _catalogue_metadata(dataset.unrated),
        "profiles": None if profiles is None else {str(name): _answers(profiles[name]) for name in profiles},
        "training": {
            "name": training.name,
            "version": training.version,
            "metrics": dict(training.metrics),
            "hyperparameters": dict(training.hyperparameters),
            "quantize_to": training.quantize_to,
            "approximate": training.approximate,
        },
        "lineage": None if training.lineage is None else asdict(training.lineage),
        "calibration": None if training.calibration is None else asdict(training.calibration),
        "protocol": None if training.protocol is None else asdict(training.protocol),
        "history": [asdict(result) for result in training.history],
    }


def _catalogue_metadata(catalogue: Catalogue) -> dict[str, Any]:
    columns = [(column.name, column.type) for column in catalogue.attributes.columns]
    return {"genres": list(catalogue.genres), "attributes": columns}


def _plain(number: np.generic) -> float | int:
    """Convert a number of numpy, which JSON does not know."""
    plain: float | int = number.item()
    return plain


def _answers(column: pd.Series) -> list[float | str | None]:
    """Return a column of sign-up answers as `profile_regression` reads it: numbers, or texts, or None."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers: list[float | str | None] = column.to_numpy(dtype=np.float64, na_value=np.nan).tolist()
        return numbers
    return [None if is_missing else str(answer) for answer, is_missing in zip(column, column.isna(), strict=True)]


def _attributes(arrays: Arrays, names: Sequence[tuple[str, AttributeType]], prefix: str) -> ItemAttributes:
    columns = [
        AttributeColumn(
            name,
            kind,
            arrays[f"{prefix}attribute/{number}/values"],
            tuple(_strings(arrays, f"{prefix}attribute/{number}/texts")),
            arrays.get(f"{prefix}attribute/{number}/offsets"),
        )
        for number, (name, kind) in enumerate(names)
    ]
    return ItemAttributes(tuple(columns))


def _catalogue(arrays: Arrays, meta: Mapping[str, Any], prefix: str = "") -> Catalogue:
    return Catalogue(
        item_ids=_strings(arrays, f"{prefix}item_ids"),
        titles=_strings(arrays, f"{prefix}titles"),
        genres=[tuple(genres) for genres in meta["genres"]],
        release_years=arrays[f"{prefix}release_years"],
        attributes=_attributes(arrays, meta.get("attributes", ()), prefix),
    )


def _training(arrays: Arrays, meta: Mapping[str, Any]) -> FinishedTraining:
    user_ids = _strings(arrays, "user_ids")
    dataset = RatingsDataset(
        user_ids=user_ids,
        catalogue=_catalogue(arrays, meta),
        unrated=_catalogue(arrays, meta["unrated"], _UNRATED) if meta.get("unrated") else None,
        **{name: arrays.get(f"dataset/{name}") for name in _RATING_ARRAYS},  # type: ignore[arg-type]
        **meta["dataset"],
    )
    if meta.get("events") is not None:
        types = tuple(EventType(**kind) for kind in meta["events"].pop("types"))
        dataset = replace(dataset, events=EventFeedback(types, **meta["events"]))
    if meta.get("erasures") is not None:
        dataset = replace(dataset, erasures=AppliedErasures(**meta["erasures"]))
    if meta["profiles"] is not None:
        dataset = replace(dataset, profiles=pd.DataFrame(meta["profiles"], index=list(user_ids)))
    with_ratings = partial(_with_ratings, arrays=arrays, scale=meta.get("rating_scale"))
    n_layers = sum(name.startswith("layer/") for name in arrays) // 2
    layers = tuple(Layer(arrays[f"layer/{n}/weight"], arrays[f"layer/{n}/bias"]) for n in range(n_layers))
    settings: dict[str, Any] = {**meta["model"], **{name: arrays[f"model/{name}"] for name in _MODEL_ARRAYS}}
    if settings["rating_range"] is not None:
        settings["rating_range"] = tuple(settings["rating_range"])
    settings |= {name: Order(**order) for name, order in meta.get("orders", {}).items()}
    model = TrainedModel(**settings, layers=layers)
    history = tuple(EpochResult(**result) for result in meta["history"])
    protocol = None if meta["protocol"] is None else MetricsProtocol(**meta["protocol"])
    lineage = None if meta.get("lineage") is None else Lineage(**meta["lineage"])
    calibration = _calibration(meta.get("calibration"))
    rated = None
    if "rated/ratings" in arrays:
        user_rows, item_rows, ratings = (arrays[f"rated/{name}"] for name in _RATED_ARRAYS)
        rated = replace(dataset, user_rows=user_rows, item_rows=item_rows, ratings=ratings, timestamps=None)
        rated = with_ratings(rated, owner="rated")
    dataset = with_ratings(dataset, owner="dataset")
    return FinishedTraining(
        model,
        dataset,
        history=history,
        protocol=protocol,
        rated=rated,
        lineage=lineage,
        calibration=calibration,
        **meta["training"],
    )


def _calibration(saved: Mapping[str, Any] | None) -> Calibration | None:
    """Return the calibration that was saved; None if the version has none."""
    if saved is None:
        return None
    return Calibration(Curve(**saved["known_users"]), Curve(**saved["new_users"]), saved["meaning"])


def _with_ratings(
    dataset: RatingsDataset, owner: str, arrays: Arrays, scale: tuple[float, float] | None
) -> RatingsDataset:
    """Add the ratings that came with events; a data set without them stays as it is."""
    if scale is None:
        return dataset
    user_rows, item_rows, ratings = (arrays[f"{owner}/rated/{name}"] for name in _RATED_ARRAYS)
    rated = replace(
        dataset,
        user_rows=user_rows,
        item_rows=item_rows,
        ratings=ratings,
        timestamps=None,
        events=None,
        rating_min=scale[0],
        rating_max=scale[1],
    )
    return replace(dataset, rated=rated)


def _strings(arrays: Arrays, name: str) -> list[str]:
    text = arrays[f"{name}.bytes"].tobytes()
    return [text[start:end].decode() for start, end in pairwise(arrays[f"{name}.offsets"].tolist())]
