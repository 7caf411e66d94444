"""Candidates of a network: found cheaply, scored exactly, and how many of the best are among them is measured."""

import numpy as np

from cofactor_trainer.export import version_graphs
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.graphs import recommend_candidates as candidates
from tests.support.exported_graphs import query
from tests.support.synthetic import make_dataset, make_model


def test_a_network_over_a_large_catalogue_ranks_candidates_exactly_and_states_its_recall(tmp_path, monkeypatch):
    """The size where candidates begin is lowered; with a fifth of the catalogue as candidates few are lost."""
    monkeypatch.setattr(version_graphs, "TWO_STAGE_ITEMS", 1000)
    monkeypatch.setattr(candidates, "CANDIDATES", 400)
    model, dataset = make_model("hybrid", n_items=2000), make_dataset(n_items=2000)
    path = export_version(model, dataset, tmp_path, "m", "1", metrics={}, hyperparameters={})
    version = read_version(path)
    assert version.manifest.metrics["candidate_recall@10"] > 0.9
    inputs = query(model, [1, 7], excluded=(3, 4), k=10)
    answer = version.run("recommend", **inputs)
    for user in range(2):
        rows = answer["item_rows"][user]
        users = {"user_factors": inputs["user_factors"][[user]], "user_bias": inputs["user_bias"][[user]]}
        assert np.allclose(version.run("predict", **users, item_rows=rows)["logits"], answer["scores"][user], atol=1e-5)
        assert not {3, 4, 2000} & set(rows.tolist())
