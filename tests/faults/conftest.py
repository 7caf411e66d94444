"""Make a model repository for every fault test, and print its seed."""

from __future__ import annotations

import pytest

from tests.support.figures import FULL, SEED
from tests.support.known_versions import Versions


@pytest.fixture(scope="session")
def source(dot_version):
    """Return the version that the other versions are made from."""
    return dot_version


@pytest.fixture
def versions(source, tmp_path):
    """Return a model repository with version 1."""
    (tmp_path / "models" / source.parent.name).mkdir(parents=True)
    repository = Versions(source, tmp_path / "models")
    repository.publish("1")
    return repository


@pytest.fixture(autouse=True)
def _print_seed():
    print(f"seed {SEED} (FAULTS_SEED), {'full' if FULL else 'short'} form (FAULTS)")
