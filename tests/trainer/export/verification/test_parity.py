"""What counts as the same answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.export.verification.parity import CheckedGraph, ParityError, compare
from cofactor_trainer.export.verification.reference import Reference
from cofactor_trainer.graphs.graph_sources import recommend_source
from cofactor_trainer.graphs.modules import Recommend, Scorer
from tests.support.exported_graphs import export_graph, query
from tests.support.synthetic import make_model


def tied(model, popularity, difference):
    """The model with items 3 and 4 at almost the same score for user 0 and popularity weight 1, not the same rating."""
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
    """Recommend of a model in which item 4 comes before item 3, to be compared with one where it is the other way."""
    model = make_model(n_users=5, n_items=30, seed=1)
    popularity = np.linspace(0, 2, 31, dtype=np.float32)
    exported = tied(model, popularity, 2e-6)
    reference = Reference(tied(model, popularity, -2e-6), torch.from_numpy(popularity))
    scorer = Scorer(exported)
    source = recommend_source(scorer, Recommend(scorer, torch.from_numpy(popularity)))
    path = export_graph(tmp_path, "recommend", source, exported, popularity)
    case = {name: torch.from_numpy(value) for name, value in query(exported, [0], k=5, weight=1.0).items()}
    return path, CheckedGraph(source, [case], reference.recommend, reference.of_recommended)


def test_items_of_almost_the_same_score_may_change_places(graph) -> None:
    path, checked = graph
    [(_, expected)] = compare(path, checked)
    assert expected["item_rows"][0, :2].tolist() == [3, 4]
    assert abs(np.diff(expected["ratings"][0, :2])) > 1e-3


def test_the_ratings_must_be_those_of_the_rows(graph) -> None:
    path, checked = graph
    scores_and_ratings = checked.of_rows

    def of_other_rows(rows, **case):
        scores, _ = scores_and_ratings(rows, **case)
        return scores, scores_and_ratings(rows.flip(1), **case)[1]

    with pytest.raises(ParityError, match="case 0"):
        compare(path, replace(checked, of_rows=of_other_rows))


def test_the_scores_must_be_the_best_ones(graph) -> None:
    path, checked = graph
    case = {**checked.cases[0], "k": torch.tensor([4])}
    with pytest.raises(ParityError, match="case 0"):
        compare(path, replace(checked, compute=lambda **_: checked.compute(**case)))
