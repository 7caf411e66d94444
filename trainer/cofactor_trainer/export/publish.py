"""Publishing a version: into another folder by one rename, or to an fsspec address with the manifest last."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.export.atomic_directory import version_draft
from cofactor_trainer.export.signing import SIGNATURE_FILE, sign_version
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import MANIFEST_FILE, SEAL_FILE


def publish_version(version: Path, repository: str, sign_key: Path | None = None) -> str:
    """Copy a version into a model repository, a folder or an fsspec address, and return where it is now.

    With `sign_key`, a private key in PEM, it is signed there; the version that is copied is left as it is.

    Raises:
        InputError: the version is damaged, the key cannot be used, or the repository has a version of this name:
            versions are never changed.
        MissingExtraError: signing or the address needs a package that is not installed.
    """
    _check(version)
    manifest = read_version(version).manifest
    files = sorted(path for path in version.iterdir() if path.is_file() and path.name != MANIFEST_FILE)
    with tempfile.TemporaryDirectory() as folder:
        if sign_key is not None:
            signature = Path(folder) / SIGNATURE_FILE
            sign_version(version, sign_key, signature)
            files = [*(path for path in files if path.name != SIGNATURE_FILE), signature]
        files.append(version / MANIFEST_FILE)
        if "://" in repository:
            return _upload(files, repository.rstrip("/"), f"{manifest.name}/{manifest.version}")
        return _copy(files, Path(repository) / manifest.name / manifest.version)


def _check(version: Path) -> None:
    manifest = read_version(version).manifest
    expected = {file.path: file.sha256 for file in manifest.files}
    seal = version / SEAL_FILE
    expected[MANIFEST_FILE] = seal.read_text(encoding="ascii", errors="replace").split(" ")[0] if seal.is_file() else ""
    for name, sha256 in expected.items():
        try:
            with (version / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{version / name} cannot be read: {error.strerror}") from error
        if actual != sha256:
            raise InputError(f"{version / name} does not match its checksum; export the version again")


def _copy(files: list[Path], target: Path) -> str:
    if target.exists():
        raise InputError(f"{target} is there; versions are never changed: publish another")
    try:
        with version_draft(target) as draft:
            for path in files:
                shutil.copyfile(path, draft / path.name)
                with (draft / path.name).open("rb") as file:
                    os.fsync(file.fileno())
    except FileExistsError as error:
        raise InputError(f"{target} is there by now; versions are never changed: publish another") from error
    return str(target)


def _upload(files: list[Path], repository: str, place: str) -> str:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError("publishing to an address", "fsspec", "remote") from error
    try:
        filesystem, root = fsspec.core.url_to_fs(repository)
    except (ImportError, ValueError) as error:
        raise InputError(f"{repository} cannot be used: {error}") from error
    target = f"{root}/{place}"
    if filesystem.exists(f"{target}/{MANIFEST_FILE}"):
        raise InputError(f"{repository}/{place} is there; versions are never changed: publish another")
    filesystem.makedirs(target, exist_ok=True)
    for path in files:  # the manifest last: until it is there, no server sees the version
        filesystem.put_file(str(path), f"{target}/{path.name}")
    return f"{repository}/{place}"
