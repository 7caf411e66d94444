"""Versions to serve, exported once for all tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

# Tests run in importlib mode, where no folder of tests is on the path.
_spec = importlib.util.spec_from_file_location("synthetic", Path(__file__).with_name("synthetic.py"))
synthetic = sys.modules["synthetic"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """Where the versions of these fixtures are; treat as read-only."""
    return tmp_path_factory.mktemp("models")


def _export(models_dir, name, architecture, dataset=None):
    from cofactor_trainer.export import export_version

    model, dataset = synthetic.make_model(architecture), dataset or synthetic.make_dataset()
    return export_version(model, dataset, models_dir, name, "1", metrics={"mse": 0.8}, hyperparameters={"seed": "7"})


@pytest.fixture(scope="session")
def dot_version(models_dir):
    """A version directory of a dot-product model."""
    return _export(models_dir, "dot", "dot-product")


@pytest.fixture(scope="session")
def net_version(models_dir):
    """A version directory of a neural network."""
    return _export(models_dir, "net", "neural-network")


@pytest.fixture(scope="session")
def hybrid_version(models_dir):
    """A version directory of a hybrid."""
    return _export(models_dir, "hybrid", "hybrid")


@pytest.fixture(scope="session")
def profile_version(models_dir):
    """A version directory of a dot-product model with the profile features "age" and "mood"."""
    return _export(models_dir, "profile", "dot-product", synthetic.with_profiles(synthetic.make_dataset()))
