"""Publish a version: copy it to a folder by one rename, or upload it to an fsspec address with the manifest last."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.export.atomic_directory import create_directory_atomically
from cofactor_trainer.export.manifest import MANIFEST_FILE, SEAL_FILE
from cofactor_trainer.export.signing import SIGNATURE_FILE, sign_version
from cofactor_trainer.export.version_reader import read_version


def publish_version(version: Path, repository: str, sign_key: Path | None = None) -> str:
    """Copy a version into a model repository and return its new path or address.

    Args:
        version: version directory; it is not changed.
        repository: folder or fsspec address.
        sign_key: private key in PEM to sign the copy with; None to keep the version's own signature, if any.

    Raises:
        InputError: the version is damaged, the key cannot be used, or the repository already has the version: versions
            are never changed.
        MissingExtraError: signing, or the address, needs a package that is not installed.
    """
    _verify_checksums(version)
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


def _verify_checksums(version: Path) -> None:
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
        raise InputError(f"{target} already exists and versions are never changed: publish another version")
    try:
        with create_directory_atomically(target) as temporary:
            for path in files:
                shutil.copyfile(path, temporary / path.name)
                with (temporary / path.name).open("rb") as file:
                    os.fsync(file.fileno())
    except FileExistsError as error:
        raise InputError(
            f"{target} was created in the meantime and versions are never changed: publish another version"
        ) from error
    return str(target)


def _upload(files: list[Path], repository: str, name: str) -> str:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError("publishing to an address", "fsspec", "remote") from error
    try:
        filesystem, root = fsspec.core.url_to_fs(repository)
    except (ImportError, ValueError) as error:
        raise InputError(f"{repository} cannot be used: {error}") from error
    target = f"{root}/{name}"
    if filesystem.exists(f"{target}/{MANIFEST_FILE}"):
        raise InputError(f"{repository}/{name} already exists and versions are never changed: publish another version")
    filesystem.makedirs(target, exist_ok=True)
    for path in files:  # the manifest last: a server ignores the version until it is there
        filesystem.put_file(str(path), f"{target}/{path.name}")
    return f"{repository}/{name}"
