"""An exported graph may swap items of nearly equal scores, but may not differ otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.export.verification.parity import GraphCheck, ParityError, verify_graph
from cofactor_trainer.export.verification.reference import Reference
from cofactor_trainer.graphs.graph_specs import recommend_spec
from cofactor_trainer.graphs.recommend import Recommend
from cofactor_trainer.graphs.scorer import Scorer
from tests.support.exported_graphs import export_graph, query
from tests.support.synthetic import make_model


def tied(model, popularity, difference):
    """Give items 3 and 4 nearly equal scores but different ratings, for user 0 and popularity weight 1."""
    everything = torch.arange(len(model.item_bias) - 1)
    reference = Reference(model, torch.from_numpy(popularity))
    users = torch.from_numpy(model.user_factors[:1]), torch.from_numpy(model.user_bias[:1])
    scores = reference.logits(*users, everything).numpy() + popularity[:-1]
    bias = model.item_bias.copy()
    bias[3] += scores.max() + 1 - scores[3]
    bias[4] += scores.max() + 1 - scores[4] + difference
    return replace(model, item_bias=bias)


@pytest.fixture
def graph(tmp_path):
    """Exported Recommend that puts item 4 before item 3, and a check whose reference puts item 3 before item 4."""
    model = make_model(n_users=5, n_items=30, seed=1)
    popularity = np.linspace(0, 2, 31, dtype=np.float32)
    exported = tied(model, popularity, 2e-6)
    reference = Reference(tied(model, popularity, -2e-6), torch.from_numpy(popularity))
    scorer = Scorer(exported)
    spec = recommend_spec(scorer, Recommend(scorer, torch.from_numpy(popularity)))
    path = export_graph(tmp_path, "recommend", spec, exported, popularity)
    golden_input = {name: torch.from_numpy(value) for name, value in query(exported, [0], k=5, weight=1.0).items()}
    return path, GraphCheck(spec, [golden_input], reference.recommend, reference.recommend_for_rows)


def test_items_of_nearly_equal_scores_may_swap_places(graph):
    path, check = graph
    [(_, expected)] = verify_graph(path, check)
    assert expected["item_rows"][0, :2].tolist() == [3, 4]
    assert abs(np.diff(expected["ratings"][0, :2])) > 1e-3


def test_the_ratings_must_belong_to_the_rows(graph):
    path, check = graph
    scores_and_ratings = check.compute_for_rows

    def swap_ratings(rows, **golden_input):
        scores, _ = scores_and_ratings(rows, **golden_input)
        return scores, scores_and_ratings(rows.flip(1), **golden_input)[1]

    with pytest.raises(ParityError, match="case 0"):
        verify_graph(path, replace(check, compute_for_rows=swap_ratings))


def test_the_scores_must_be_the_best_ones(graph):
    path, check = graph
    other_input = {**check.golden_inputs[0], "k": torch.tensor([4])}
    with pytest.raises(ParityError, match="case 0"):
        verify_graph(path, replace(check, compute=lambda **_: check.compute(**other_input)))
