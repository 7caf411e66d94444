"""Test that a version with 8-bit item factors recommends the same items as the exact version."""

import numpy as np
import pytest

from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_trainer.export.version_writer import export_version
from tests.support import synthetic


@pytest.fixture(scope="module")
def quantized_version(tmp_path_factory):
    return export_version(
        synthetic.make_model("dot-product"),
        synthetic.make_dataset(),
        tmp_path_factory.mktemp("models"),
        "dot",
        "int8",
        metrics={},
        hyperparameters={},
        quantize_to="int8",
    )


def recommended(engine, tables):
    users = slice(0, 8)
    weights, nothing = np.zeros(8, np.float32), np.full((8, 1), synthetic.N_ITEMS)
    return engine.recommend(tables["user_factors"][users], tables["user_bias"][users], weights, nothing, 10)


def test_a_quantized_version_recommends_like_the_exact_one(quantized_version, dot_version):
    results = []
    for version in (quantized_version, dot_version):
        directory = open_version_directory(version)
        results.append(recommended(Engine(directory, [CPU], must_use_first=True), directory.tables))
    for ours, exact in zip(*results, strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-5)


def test_graphs_are_prepacked_if_the_manifest_says_so(dot_version, versions, tmp_path):
    """Versions that were quantized by the first release say so."""
    version = versions.copy(dot_version, tmp_path)
    manifest = versions.read(version)
    for graph in manifest.graphs:
        graph.prepacked = graph.name == "recommend"
    versions.write(version, manifest)
    engine = Engine(open_version_directory(version), [CPU], must_use_first=True)
    disabled = {}
    for name in ("recommend", "predict"):
        options = engine._cpu_sessions[name].get_session_options()
        disabled[name] = options.get_session_config_entry("session.disable_prepacking")
    assert disabled == {"recommend": "0", "predict": "1"}
