"""A version quantized to 8 bits picks candidates by item codes and scores them exactly."""

import numpy as np
import pytest

from cofactor_trainer.export.verification.parity import cpu_session
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from tests.support.exported_graphs import best_by_numpy, query
from tests.support.synthetic import make_dataset, make_model


@pytest.fixture(scope="module")
def quantized_version(tmp_path_factory):
    return export_version(
        make_model(n_factors=40),
        make_dataset(),
        tmp_path_factory.mktemp("quantized"),
        "m",
        "1",
        metrics={},
        hyperparameters={},
        quantize_to="int8",
    )


@pytest.mark.parametrize(("users", "weight"), [([1], 1.0), ([5], 0.0), ([9], -2.0), ([1, 5], 1.0)])
def test_a_quantized_version_scores_exactly_and_states_its_recall(quantized_version, users, weight):
    version = read_version(quantized_version)
    assert version.manifest.metrics["int8_recall@10"] >= 0.99
    model = make_model(n_factors=40)
    inputs = query(model, users, excluded=(3, 4), k=10, weight=weight)
    session = cpu_session(quantized_version / "recommend.onnx")
    rows, scores, _ = session.run(None, inputs)
    assert np.array_equal(rows, best_by_numpy(model, version.tables["item_log_popularity"], inputs))
    exact = np.einsum("bkd,bd->bk", model.item_factors[rows], inputs["user_factors"]) + model.item_bias[rows]
    exact += weight * version.tables["item_log_popularity"][rows] + inputs["user_bias"][:, None] + model.global_bias
    assert np.allclose(scores, exact, atol=1e-5)


def test_a_quantized_version_never_recommends_excluded_items(quantized_version):
    model = make_model(n_factors=40)
    session = cpu_session(quantized_version / "recommend.onnx")
    excluded = tuple(range(117))
    rows, scores, _ = session.run(None, query(model, [1], excluded=excluded, k=120))
    assert set(rows[0, :3]) == {117, 118, 119}
    assert np.all(scores[0, 3:] < -1e29)


def test_a_network_cannot_be_quantized(tmp_path):
    model, dataset = make_model("hybrid"), make_dataset()
    with pytest.raises(ValueError, match="only a dot-product model can be quantized, not a hybrid"):
        export_version(model, dataset, tmp_path, "m", "1", metrics={}, hyperparameters={}, quantize_to="int8")
