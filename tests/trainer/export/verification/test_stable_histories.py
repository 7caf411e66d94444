"""An export is verified on histories whose fold-in is stable in float32."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.export.verification.stable_histories import find_stable_history
from cofactor_trainer.export.verification.tolerances import TOLERANCE
from cofactor_trainer.graphs.fold_in import EmbedRatingUser
from cofactor_trainer.graphs.prior_estimation import estimate_rating_prior
from cofactor_trainer.graphs.scorer import Scorer
from tests.support import synthetic


class UnstableEmbedUser:
    """Fold-in whose output depends on the last bits of the ratings if there are more than `most` of them."""

    def __init__(self, most):
        self.most = most

    def __call__(self, item_rows, ratings):
        given = (item_rows != 100).sum()
        return torch.sin(ratings.sum(1) * (1e5 if given > self.most else 0.1)), ratings[:, 0] * 0, ratings * 0


def history(n_ratings):
    rows = torch.randperm(100, generator=torch.Generator().manual_seed(1))[None, :n_ratings]
    return {"item_rows": rows, "ratings": torch.linspace(1, 5, n_ratings)[None]}


def test_a_stable_history_stays_as_it_is():
    given = history(8)
    stable = find_stable_history(given, UnstableEmbedUser(10), 100, {})
    assert all(torch.equal(given[name], stable[name]) for name in given)


@pytest.mark.parametrize("most", [40, 5, 0])
def test_an_unstable_history_is_shortened_until_it_is_stable(most):
    stable = find_stable_history(history(80), UnstableEmbedUser(most), 100, {})
    n_left = int((stable["item_rows"] != 100).sum())
    assert n_left <= most
    assert n_left >= most * 0.7


def test_a_network_of_many_factors_has_long_stable_histories():
    model = synthetic.make_model("hybrid", n_items=400, n_factors=32)
    model = replace(model, user_factors=model.user_factors / 3, item_factors=model.item_factors / 3)
    fold_in = EmbedRatingUser(Scorer(model), estimate_rating_prior(model, synthetic.make_dataset(n_items=400)))
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.choice(400, (1, 84), replace=False))
    given = {"item_rows": rows, "ratings": torch.from_numpy(random.uniform(1, 5, (1, 84)).astype(np.float32))}
    stable = find_stable_history(given, fold_in, 400, {})
    assert (stable["item_rows"] != 400).sum() >= 10
    with torch.inference_mode():
        single, double = fold_in(**stable), fold_in.double()(stable["item_rows"], stable["ratings"].double())
    assert max(float((a - b).abs().max()) for a, b in zip(single, double, strict=True)) <= TOLERANCE / 2
