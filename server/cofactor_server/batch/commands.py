"""The commands recommend-all and export-embeddings."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from google.protobuf import json_format

from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.batch.embeddings import VectorTables
from cofactor_server.batch.parquet_parts import ParquetParts
from cofactor_server.batch.progress import JobProgress
from cofactor_server.batch.recommendations import BatchRecommender
from cofactor_server.batch.tables import RecommendationTables
from cofactor_server.batch.version_choice import VersionChoice, load_version
from cofactor_server.errors import ConfigurationError, RequestError
from cofactor_server.serving.loaded_version import LoadedVersion


def recommend_all(arguments: argparse.Namespace) -> str:
    """Recommend to all users, or those of --users; return a sentence about the result. Raises CofactorError."""
    with load_version(_choice(arguments)) as version:
        return write_recommendations(version, arguments)


def write_recommendations(version: LoadedVersion, arguments: argparse.Namespace) -> str:
    """Do what `recommend_all` does, with a version that is loaded."""
    request = _read_request(arguments)
    user_rows, n_unknown = _user_rows(version, arguments.users)
    parts = _split(user_rows, arguments.users_per_part)
    tables = RecommendationTables(version, arguments.layout, _metadata(version, request))
    output = ParquetParts(arguments.output, tables.schema, _fingerprint(version, request, arguments, user_rows))
    with (
        _recommender(version, request, arguments) as recommender,
        output.locked(restart=arguments.restart),
        JobProgress(len(user_rows)) as progress,
    ):

        def make(number: int) -> pa.Table:
            table = tables.table(recommender.recommend(parts[number]))
            progress.advance(len(parts[number]))
            return table

        output.write_missing(len(parts), make, lambda number: progress.skip(len(parts[number])))
        output.join(len(parts))
    unknown = f", {n_unknown:,} unknown users left out" if n_unknown else ""
    return f"{arguments.output}: {len(user_rows):,} users of {version.key}{unknown}, {progress.rate:,.0f} users/s"


def _recommender(version: LoadedVersion, request: RecommendRequest, arguments: argparse.Namespace) -> BatchRecommender:
    try:
        return BatchRecommender(version, request, arguments.batch_size, arguments.threads)
    except RequestError as error:
        raise ConfigurationError(f"--request: {error}") from None


def _split(user_rows: list[int], size: int) -> list[list[int]]:
    """Split the users into parts of `size`, the last one shorter; no users are one empty part."""
    return [user_rows[start : start + size] for start in range(0, len(user_rows), size)] or [[]]


def export_embeddings(arguments: argparse.Namespace) -> str:
    """Write the vectors of the items and, with --users, of the users; return a sentence. Raises CofactorError."""
    with load_version(_choice(arguments)) as version:
        vectors = VectorTables(version)
        try:
            written = f"{arguments.output}: {vectors.write_items(arguments.output):,} items of {version.key}"
            if arguments.users is not None:
                written += f"; {arguments.users}: {vectors.write_users(arguments.users):,} users"
        except OSError as error:
            raise ConfigurationError(f"cannot write {error.filename}: {error.strerror}") from None
    return written


def _choice(arguments: argparse.Namespace) -> VersionChoice:
    choice = VersionChoice(
        arguments.model_repository or "",
        arguments.model,
        arguments.model_version,
        arguments.label,
        arguments.provider,
        arguments.erasure_key_file,
        arguments.require_signature,
        getattr(arguments, "batch_size", VersionChoice.batch_size),
    )
    return choice if arguments.version_dir is None else VersionChoice.of_directory(arguments.version_dir, choice)


def _read_request(arguments: argparse.Namespace) -> RecommendRequest:
    """Return the request in the file --request, with the flags on top."""
    request = RecommendRequest()
    if arguments.request is not None:
        try:
            json_format.Parse(arguments.request.read_text("utf-8"), request)
        except OSError as error:
            raise ConfigurationError(f"--request: cannot read {arguments.request}: {error.strerror}") from None
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"--request: {arguments.request} is not a RecommendRequest: {error}") from None
    if arguments.k is not None or not request.page_size:
        request.page_size = arguments.k or 10
    return request


def _user_rows(version: LoadedVersion, path: Path | None) -> tuple[list[int], int]:
    """Return the rows of the users to recommend to, and how many of --users are unknown."""
    if path is None:
        return [row for row, user_id in enumerate(version.user_ids.ids) if user_id], 0
    try:
        user_ids = dict.fromkeys(line for line in path.read_text("utf-8").splitlines() if line)
    except UnicodeDecodeError:
        raise ConfigurationError(f"--users: {path} is not UTF-8: give one user id a line") from None
    except OSError as error:
        raise ConfigurationError(f"--users: cannot read {path}: {error.strerror}") from None
    rows = [version.user_ids.row(user_id) for user_id in user_ids]
    known = [row for row in rows if row is not None]
    return known, len(rows) - len(known)


def _metadata(version: LoadedVersion, request: RecommendRequest) -> dict[str, str]:
    return {
        "cofactor.model": version.manifest.name,
        "cofactor.version": version.manifest.version,
        "cofactor.request": json_format.MessageToJson(request, indent=None, sort_keys=True),
    }


def _fingerprint(
    version: LoadedVersion, request: RecommendRequest, arguments: argparse.Namespace, user_rows: Iterable[int]
) -> dict[str, str]:
    """Return everything that the content of the parts depends on."""
    users = hashlib.sha256("\n".join(version.user_ids.ids[row] for row in user_rows).encode()).hexdigest()
    manifest = hashlib.sha256(version.manifest.SerializeToString(deterministic=True)).hexdigest()
    sizes = {name: str(getattr(arguments, name)) for name in ("layout", "users_per_part", "batch_size")}
    return {**_metadata(version, request), **sizes, "manifest": manifest, "users": users}
