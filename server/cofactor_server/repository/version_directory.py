"""Open and verify version directories: manifest, checksums and memory-mapped tables (docs/model-format.md)."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import json_format

from cofactor.v1.manifest_pb2 import Graph, Manifest, Table
from cofactor_server.arrays import AnyArray
from cofactor_server.errors import ModelRefused
from cofactor_server.repository.attribute_tables import attribute_layout, check_attribute_contents
from cofactor_server.repository.manifest_numbers import check_numbers, check_table_numbers
from cofactor_server.repository.passing_errors import raise_if_passing
from cofactor_server.repository.string_table import StringTable

# Format 2 has a ranking part, which a reader of format 1 would take for further factors of the predicted rating.
# Format 3 learnt from ratings and events: its graph embed_user takes both.
FORMAT_VERSIONS = (1, 2, 3)
RATINGS_AND_EVENTS_FORMAT = 3
TABLES = "tables.bin"
GOLDEN = "golden.npz"
MANIFEST_CHECKSUM = "manifest.sha256"
DTYPES = frozenset({"int8", "uint8", "int16", "int32", "int64", "float32", "float64"})
GRAPHS = frozenset({"predict", "recommend", "similar_items", "similarity"})
OPTIONAL_GRAPHS = frozenset({"embed_user"})
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class VersionDirectory:
    """A verified version directory.

    Attributes:
        path: the directory.
        manifest: the content of manifest.json.
        tables: every table by name; read-only views of the mapped file tables.bin.
    """

    path: Path
    manifest: Manifest
    tables: dict[str, AnyArray]

    @property
    def label(self) -> str:
        """Name and version, as messages show them."""
        return f"{self.manifest.name}/{self.manifest.version}"

    def graph_path(self, name: str) -> Path | None:
        """Return the file of the graph called `name`, or None if the version has no such graph."""
        graph = self._graph(name)
        return None if graph is None else self.path / graph.path

    def is_prepacked(self, name: str) -> bool:
        """Return True if the graph runs fast only with prepacked weights, as graphs with 8-bit weights do."""
        graph = self._graph(name)
        return graph is not None and graph.prepacked

    def _graph(self, name: str) -> Graph | None:
        return next((graph for graph in self.manifest.graphs if graph.name == name), None)

    def strings(self, name: str) -> StringTable:
        """Return the strings that the tables `<name>.bytes` and `<name>.offsets` hold."""
        return StringTable(self.tables[f"{name}.bytes"], self.tables[f"{name}.offsets"])  # type: ignore[arg-type]

    @property
    def golden_path(self) -> Path:
        """File with the inputs and expected outputs of the golden test."""
        return self.path / GOLDEN


def open_version_directory(path: Path) -> VersionDirectory:
    """Read and verify a version directory.

    Raises ModelRefused with the first problem found, and OSError for a problem of the machine that may pass.
    """
    label = f"{path.parent.name}/{path.name}"
    try:
        manifest = _read_manifest(path)
        _check_names(path, manifest)
        check_numbers(manifest)
        for file in manifest.files:
            _verify_file(path, file.path, file.size, file.sha256)
        return VersionDirectory(path, manifest, _map_tables(path, manifest))
    except OSError as error:
        raise_if_passing(error)
        raise ModelRefused(
            f"model {label} refused: cannot read {Path(error.filename or '').name}: {error.strerror}"
        ) from None
    except ValueError as error:
        raise ModelRefused(f"model {label} refused: {error}") from None


def verify_manifest_checksum(path: Path) -> None:
    """Raise ModelRefused unless manifest.json matches manifest.sha256; OSError for a problem that may pass.

    The manifest holds the checksums of all other files, so they are worth nothing if the manifest itself is damaged.
    """
    label = f"{path.parent.name}/{path.name}"
    try:
        expected = (path / MANIFEST_CHECKSUM).read_bytes()
        digest = hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    except OSError as error:
        raise_if_passing(error)
        name = Path(error.filename or "").name
        raise ModelRefused(f"model {label} refused: cannot read {name}: {error.strerror}") from None
    if expected != f"{digest}  manifest.json\n".encode():
        raise ModelRefused(
            f"model {label} refused: manifest.json does not match {MANIFEST_CHECKSUM}; copy the version again from "
            "where it was published"
        )


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = json_format.Parse(
            (path / "manifest.json").read_text("utf-8"), Manifest(), ignore_unknown_fields=True
        )
    except FileNotFoundError:
        raise ValueError("it has no manifest.json, so it was not published completely; publish it again") from None
    except (json_format.ParseError, UnicodeDecodeError):
        raise ValueError("manifest.json is not a valid manifest") from None
    if manifest.format_version not in FORMAT_VERSIONS:
        readable = f"{', '.join(map(str, FORMAT_VERSIONS[:-1]))} and {FORMAT_VERSIONS[-1]}"
        raise ValueError(
            f"its format version is {manifest.format_version}, and this server reads {readable}; export it again "
            "with this release"
        )
    return manifest


def _check_names(path: Path, manifest: Manifest) -> None:
    if (manifest.name, manifest.version) != (path.parent.name, path.name):
        raise ValueError(
            f"its manifest is that of {manifest.name}/{manifest.version}; a version directory must not be renamed"
        )
    listed = {file.path for file in manifest.files}
    graphs = {graph.name for graph in manifest.graphs}
    for name in listed:
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError("manifest.json names a file outside the directory")
    required = {TABLES, GOLDEN} | {graph.path for graph in manifest.graphs}
    if manifest.HasField("approximate_index"):
        required.add(manifest.approximate_index.path)
    without_checksum = sorted(required - listed)
    if without_checksum:
        raise ValueError(f"manifest.json has no checksum of {', '.join(without_checksum)}")
    if not graphs >= GRAPHS or not graphs <= GRAPHS | OPTIONAL_GRAPHS:
        raise ValueError(
            f"its graphs are {', '.join(sorted(graphs)) or 'missing'}, and {', '.join(sorted(GRAPHS))} are required"
        )


def _verify_file(path: Path, name: str, size: int, sha256: str) -> None:
    with (path / name).open("rb") as file:
        actual_size = file.seek(0, 2)
        if actual_size != size:
            raise ValueError(f"{name} has {actual_size} bytes, and the manifest says {size}; copy the version again")
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256.lower():
            raise ValueError(f"{name} does not match its checksum; copy the version again from where it was published")


def _map_tables(path: Path, manifest: Manifest) -> dict[str, AnyArray]:
    raw = np.memmap(path / TABLES, dtype=np.uint8, mode="r")
    tables = {table.name: _table(raw, table) for table in manifest.tables}
    for name, (dtype, shape) in _layout(manifest, tables).items():
        if name not in tables:
            raise ValueError(f"table {name} is missing")
        table = tables[name]
        if table.dtype != dtype or len(table.shape) != len(shape):
            raise ValueError(f"table {name} is {table.dtype}{list(table.shape)}, not {dtype}{list(shape)}")
        if any(expected not in (-1, actual) for expected, actual in zip(shape, table.shape, strict=True)):
            raise ValueError(f"table {name} has shape {list(table.shape)}, not {list(shape)}")
    _check_contents(manifest, tables)
    return tables


def _table(raw: np.memmap[tuple[int, ...], np.dtype[np.uint8]], table: Table) -> AnyArray:
    if table.dtype not in DTYPES:
        raise ValueError(f"table {table.name} has the unknown element type {table.dtype}")
    dtype = np.dtype(table.dtype).newbyteorder("<")
    size = math.prod(table.shape) * dtype.itemsize
    if min(table.shape, default=1) < 0 or table.offset < 0 or table.offset % 4096 or table.offset + size > len(raw):
        raise ValueError(f"table {table.name} does not lie within {TABLES}")
    # Index a plain array over the mapping: indexing np.memmap itself is ten times slower.
    return np.asarray(raw)[table.offset : table.offset + size].view(dtype).reshape(tuple(table.shape))


def _layout(manifest: Manifest, tables: dict[str, AnyArray]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name -> (element type, shape) of the required tables; -1 stands for any length."""
    n_users, n_items = manifest.user_count, manifest.item_count
    d, q = manifest.user_factor_count, manifest.item_factor_count
    d_rating = d - manifest.ranking_factor_count
    if min(n_users, n_items, d_rating, q - manifest.ranking_factor_count) < 1:
        raise ValueError("manifest.json has no number of users, items or factors")
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "user_factors": ("float32", (n_users + 1, d)),
        "user_bias": ("float32", (n_users + 1,)),
        "item_factors": ("float32", (n_items + 1, q)),
        "item_bias": ("float32", (n_items + 1,)),
        "item_inverse_norms": ("float32", (n_items + 1,)),
        "item_log_popularity": ("float32", (n_items + 1,)),
        "item_genres.offsets": ("int64", (n_items + 1,)),
        "item_genres.indices": ("int32", (-1,)),
        "item_release_years": ("int32", (n_items,)),
        "item_rating_counts": ("int64", (n_items,)),
        "rated.offsets": ("int64", (n_users + 1,)),
        "rated.item_rows": ("int32", (-1,)),
        "rated.ratings": ("float32", (-1,)),
        "user_ids.offsets": ("int64", (n_users + 1,)),
        "item_ids.offsets": ("int64", (n_items + 1,)),
        "item_titles.offsets": ("int64", (n_items + 1,)),
        "genre_names.offsets": ("int64", (-1,)),
    }
    for name in ("user_ids", "item_ids", "item_titles", "genre_names"):
        layout[f"{name}.bytes"] = ("uint8", (-1,))
    if manifest.format_version == RATINGS_AND_EVENTS_FORMAT:
        n_rated = len(tables["rated.item_rows"]) if "rated.item_rows" in tables else -1
        layout["rated.weights"] = ("float32", (n_rated,))
        layout["rated.has_rating"] = ("uint8", (n_rated,))
    if "item_effect" in tables:  # older versions lack it
        layout["item_effect"] = ("float32", (n_items,))
    if "user_prior_mean" in tables or "user_prior_precision" in tables:
        layout["user_prior_mean"] = ("float32", (d_rating + 1,))
        layout["user_prior_precision"] = ("float32", (d_rating + 1, d_rating + 1))
    if "ranking_prior_mean" in tables or "ranking_prior_covariance" in tables:
        r = manifest.ranking_factor_count - 1 if manifest.ranking_factor_count else d
        layout["ranking_prior_mean"] = ("float32", (r,))
        layout["ranking_prior_covariance"] = ("float32", (r, r))
    return layout | attribute_layout(manifest, tables)


def _check_contents(manifest: Manifest, tables: dict[str, AnyArray]) -> None:
    """Raise ValueError for indices outside their range, which CUDA's Gather would follow, and for NaN or infinity."""
    n_genres = len(tables["genre_names.offsets"]) - 1
    _check_lists(tables["rated.offsets"], tables["rated.item_rows"], manifest.item_count, "rated")
    _check_lists(tables["item_genres.offsets"], tables["item_genres.indices"], n_genres, "item_genres")
    if len(tables["rated.ratings"]) != len(tables["rated.item_rows"]):
        raise ValueError("table rated.ratings is not as long as rated.item_rows")
    check_table_numbers(tables)
    check_attribute_contents(manifest, tables)


def _check_lists(offsets: AnyArray, indices: AnyArray, limit: int, name: str) -> None:
    lengths = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != len(indices) or np.any(lengths < 0):
        raise ValueError(f"table {name}.offsets does not fit its lists")
    if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= limit):
        raise ValueError(f"table {name} holds an index outside its range")
