"""The harness, importable by the fault tests and by processes they spawn, and a folder of versions to serve."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

for _name in ("harness", "network"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
    _module = sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
harness = sys.modules["harness"]


@pytest.fixture(scope="session")
def source(dot_version):
    """The version that the others are made from."""
    return dot_version


@pytest.fixture
def versions(source, tmp_path):
    """A repository with version 1 in it."""
    (tmp_path / "models" / source.parent.name).mkdir(parents=True)
    made = harness.Versions(source, tmp_path / "models")
    made.publish("1")
    return made


@pytest.fixture(autouse=True)
def _print_seed():
    print(f"seed {harness.SEED} (FAULTS_SEED), {'full' if harness.FULL else 'short'} form (FAULTS)")
