"""A network over a large catalogue picks candidates, scores them exactly, and states its recall."""

import numpy as np

from cofactor_trainer.export import version_graphs
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.graphs import recommend_candidates as candidates
from tests.support.exported_graphs import query
from tests.support.synthetic import make_dataset, make_model


def test_a_network_over_a_large_catalogue_ranks_candidates_exactly_and_states_its_recall(tmp_path, monkeypatch):
    """The catalogue counts as large from 1000 items on. A fifth of it is candidates, so that few items are lost."""
    monkeypatch.setattr(version_graphs, "LARGE_CATALOGUE_ITEMS", 1000)
    monkeypatch.setattr(candidates, "CANDIDATES", 400)
    model, dataset = make_model("hybrid", n_items=2000), make_dataset(n_items=2000)
    path = export_version(model, dataset, tmp_path, "m", "1", metrics={}, hyperparameters={})
    version = read_version(path)
    assert version.manifest.metrics["candidate_recall@10"] > 0.9
    inputs = query(model, [1, 7], excluded=(3, 4), k=10)
    outputs = version.run("recommend", **inputs)
    for user in range(2):
        rows = outputs["item_rows"][user]
        users = {"user_factors": inputs["user_factors"][[user]], "user_bias": inputs["user_bias"][[user]]}
        assert np.allclose(
            version.run("predict", **users, item_rows=rows)["logits"], outputs["scores"][user], atol=1e-5
        )
        assert not {3, 4, 2000} & set(rows.tolist())
