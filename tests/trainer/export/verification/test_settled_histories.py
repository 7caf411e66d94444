"""Histories that float32 cannot decide are not what an export is judged by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.export.verification.parity import TOLERANCE
from cofactor_trainer.export.verification.settled_histories import settled_history
from cofactor_trainer.graphs.empirical_bayes import empirical_prior
from cofactor_trainer.graphs.fold_in import EmbedUser
from cofactor_trainer.graphs.modules import Scorer
from tests.support import synthetic


class Doubtful(torch.nn.Module):
    """Lets the last bits of the ratings decide as long as a history has more than `most` of them."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, item_rows, ratings):
        given = (item_rows != 100).sum()
        return torch.sin(ratings.sum(1) * (1e5 if given > self.most else 0.1)), ratings[:, 0] * 0, ratings * 0


def history(n_ratings):
    rows = torch.randperm(100, generator=torch.Generator().manual_seed(1))[None, :n_ratings]
    return {"item_rows": rows, "ratings": torch.linspace(1, 5, n_ratings)[None]}


def test_a_history_that_float32_decides_stays():
    case = history(8)
    assert all(torch.equal(case[name], kept) for name, kept in settled_history(case, Doubtful(10), 100).items())


@pytest.mark.parametrize("most", [40, 5, 0])
def test_a_history_in_doubt_is_shortened_until_it_is_decided(most):
    case = settled_history(history(80), Doubtful(most), 100)
    n_left = int((case["item_rows"] != 100).sum())
    assert n_left <= most
    assert n_left >= most * 0.7


def test_a_network_of_many_factors_has_long_histories_left_to_judge_by():
    model = synthetic.make_model("hybrid", n_items=400, n_factors=32)
    model = replace(model, user_factors=model.user_factors / 3, item_factors=model.item_factors / 3)
    fold_in = EmbedUser(Scorer(model), empirical_prior(model, synthetic.make_dataset(n_items=400)))
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.choice(400, (1, 84), replace=False))
    case = {"item_rows": rows, "ratings": torch.from_numpy(random.uniform(1, 5, (1, 84)).astype(np.float32))}
    settled = settled_history(case, fold_in, 400)
    assert (settled["item_rows"] != 400).sum() >= 10
    with torch.inference_mode():
        single, double = fold_in(**settled), fold_in.double()(settled["item_rows"], settled["ratings"].double())
    assert max(float((a - b).abs().max()) for a, b in zip(single, double, strict=True)) <= TOLERANCE / 2
