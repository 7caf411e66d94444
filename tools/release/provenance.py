"""State what a release was made from: SLSA provenance in an in-toto statement, checksums, and a signature."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.export.signing import sign_version
from tools.release.checkout import Commit
from tools.release.errors import ReleaseError

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:cofactor:make-release:v1"
LOCAL_BUILDER = "urn:cofactor:builder:local"
SUMS = "SHA256SUMS"
SIGNATURE = "model.sig"  # the name that model-signing and sign_version have for it


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def statement(
    commit: Commit, source: Path, files: Sequence[Path], images: Mapping[str, str], builder: str, started: datetime
) -> dict[str, Any]:
    """Return the statement on all files and images of a release (in-toto Statement v1, SLSA Provenance v1)."""
    subjects = [{"name": path.name, "digest": {"sha256": sha256(path)}} for path in files]
    subjects += [{"name": name, "digest": {"sha256": digest}} for name, digest in images.items()]
    locks = sorted((source / "requirements").glob("*.txt"))
    commit_of_the_source = {"uri": f"pkg:pypi/cofactor@{commit.version}", "digest": {"gitCommit": commit.sha}}
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"target": "release", "version": commit.version, "commit": commit.sha},
                "internalParameters": {"SOURCE_DATE_EPOCH": commit.time},
                "resolvedDependencies": [
                    commit_of_the_source,
                    *({"name": f"requirements/{lock.name}", "digest": {"sha256": sha256(lock)}} for lock in locks),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": builder,
                    "version": {"python": platform.python_version(), "hatchling": version("hatchling")},
                },
                "metadata": {"startedOn": _time(started), "finishedOn": _time(datetime.now(UTC))},
            },
        },
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_statement(content: dict[str, Any], dist: Path, commit: Commit) -> Path:
    """Write the statement as JSON."""
    path = dist / f"cofactor-{commit.version}.provenance.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def write_sums(dist: Path) -> Path:
    """Write the checksums of all files, for `sha256sum --check`."""
    files = sorted(path for path in dist.iterdir() if path.name not in (SUMS, SIGNATURE))
    (dist / SUMS).write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files), encoding="utf-8")
    return dist / SUMS


def sign(dist: Path, key: Path) -> Path:
    """Sign all files as versions are signed: OpenSSF model signing with a P-256 key.

    Raises ReleaseError if the key cannot be used or the extra signing is not installed.
    """
    try:
        sign_version(dist, key, dist / SIGNATURE)
    except (InputError, MissingExtraError) as error:
        raise ReleaseError(f"--sign-key: {error}") from error
    return dist / SIGNATURE
