"""Read an exported version directory, for the report and for publishing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import Float32Array, Int64Array, RowArray
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.manifest import FORMAT_VERSION, RANKING_PART_FORMAT, RATINGS_AND_EVENTS_FORMAT, check_names

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class ExportedVersion:
    """A version directory (docs/model-format.md) with its tables memory-mapped.

    Attributes:
        path: version directory.
        manifest: content of manifest.json.
        tables: every array by name.
    """

    path: Path
    manifest: manifest_pb2.Manifest
    tables: dict[str, npt.NDArray[Any]]

    @cached_property
    def item_titles(self) -> list[str]:
        """Titles by item row; the item id where there is no title."""
        ids = self.strings("item_ids")
        return [title or item_id for title, item_id in zip(self.strings("item_titles"), ids, strict=True)]

    @property
    def compared_factors(self) -> Float32Array:
        """Factors that tell how similar items are, (n_items + 1, m): all columns but the bias of a ranking part."""
        factors: Float32Array = self.tables["item_factors"]
        return factors[:, :-1] if self.manifest.ranking_factor_count else factors

    def default_order(self) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs of graph recommend that say how to order the items of one user by default."""
        manifest = self.manifest
        if not manifest.ranking_factor_count:
            return {"popularity_weight": np.array([manifest.default_popularity_weight], np.float32)}
        order = manifest.default_order
        return {
            "popularity_weight": np.array([order.popularity_weight], np.float32),
            "order_weights": np.array([[order.rating_weight, order.ranking_weight]], np.float32),
        }

    def strings(self, name: str) -> list[str]:
        """Decode the strings of a pair of tables, `<name>.bytes` and `<name>.offsets`."""
        text = self.tables[f"{name}.bytes"].tobytes()
        offsets = self.tables[f"{name}.offsets"].tolist()
        return [text[start:end].decode() for start, end in pairwise(offsets)]

    def run(self, graph: str, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Run a graph on the CPU and return its outputs by name."""
        session = self._session(graph)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def predict(self, user_rows: RowArray | Int64Array, item_rows: RowArray | Int64Array) -> Float32Array:
        """Predict the ratings of pairs: user_rows (n,), item_rows (n,) -> (n,)."""
        users = {name: self.tables[name][user_rows] for name in ("user_factors", "user_bias")}
        ratings: Float32Array = self.run("predict", **users, item_rows=item_rows.astype(np.int64))["ratings"]
        return ratings

    def _session(self, graph: str) -> onnxruntime.InferenceSession:
        import onnxruntime  # publishing a version runs no graph

        if graph not in self._sessions:
            path = self.path / f"{graph}.onnx"
            self._sessions[graph] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return self._sessions[graph]

    @cached_property
    def _sessions(self) -> dict[str, onnxruntime.InferenceSession]:
        return {}


def read_version(path: Path) -> ExportedVersion:
    """Read a version directory.

    Raises:
        InputError: the directory has no valid manifest, a format that this trainer does not know, a name or version
            that is not a plain folder name, or tables that are missing or truncated.
    """
    manifest = _read_manifest(path)
    tables = {table.name: _map_table(path / "tables.bin", table) for table in manifest.tables}
    return ExportedVersion(path, manifest, tables)


def _read_manifest(directory: Path) -> manifest_pb2.Manifest:
    path = directory / "manifest.json"
    try:
        text = path.read_text(encoding="utf-8")
        manifest = json_format.Parse(text, manifest_pb2.Manifest(), ignore_unknown_fields=True)
    except OSError as error:
        raise InputError(f"{directory} is not a version directory: its manifest.json cannot be read") from error
    except (UnicodeDecodeError, json_format.ParseError) as error:
        raise InputError(f"is not a manifest: {error}", path) from error
    if manifest.format_version not in (FORMAT_VERSION, RANKING_PART_FORMAT, RATINGS_AND_EVENTS_FORMAT):
        raise InputError(
            f"format version {manifest.format_version} is not {FORMAT_VERSION}, {RANKING_PART_FORMAT} or "
            f"{RATINGS_AND_EVENTS_FORMAT}; export the version with this release",
            path,
        )
    try:
        check_names(manifest.name, manifest.version)
    except ValueError as error:
        raise InputError(str(error), path) from error
    return manifest


def _map_table(path: Path, table: manifest_pb2.Table) -> npt.NDArray[Any]:
    shape = tuple(table.shape)
    try:
        dtype = np.dtype(table.dtype)
        if dtype.kind not in "iuf":  # for dtype object, numpy would take the bytes of the file for addresses
            raise TypeError(f"a table of {dtype}")
        if 0 in shape:  # an empty range cannot be mapped
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", table.offset, shape)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"does not hold the table {table.name} of manifest.json: the file is truncated or damaged; export the "
            "version again, or copy it again from the place it was exported to",
            path,
        ) from error
