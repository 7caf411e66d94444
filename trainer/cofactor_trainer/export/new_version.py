"""Check that a new version can be written, before hours of training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cofactor_trainer.errors import InputError
from cofactor_trainer.export.manifest import check_names


def check_new_version(output: Path, name: str, version: str | None) -> None:
    """Reject invalid names, and a version that exists."""
    try:
        # A version named after the time is always valid.
        check_names(name, "1" if version is None else version)
        exists = version is not None and (output / name / version).exists()
    except ValueError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}): pass another directory with --output", output) from None
    if exists:
        raise InputError(f"version {version} of model {name} exists and versions never change: pass another --version")


def create_model_directory(directory: Path) -> None:
    """Create the directory of a model's versions and check that it is writable."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=directory):
            pass
    except OSError as error:
        raise InputError(
            f"versions cannot be written here ({error.strerror}): pass another directory with --output", directory
        ) from None
