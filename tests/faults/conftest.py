"""A folder of versions to serve, and the seed of every test."""

from __future__ import annotations

import pytest

from tests.support.figures import FULL, SEED
from tests.support.known_versions import Versions


@pytest.fixture(scope="session")
def source(dot_version):
    """The version that the others are made from."""
    return dot_version


@pytest.fixture
def versions(source, tmp_path):
    """A repository with version 1 in it."""
    (tmp_path / "models" / source.parent.name).mkdir(parents=True)
    made = Versions(source, tmp_path / "models")
    made.publish("1")
    return made


@pytest.fixture(autouse=True)
def _print_seed():
    print(f"seed {SEED} (FAULTS_SEED), {'full' if FULL else 'short'} form (FAULTS)")
