"""Compare Predict on a real server with numpy, for one user and for pairs."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import PredictRequest, User
from tests.support.expected import ITEM_IDS, KNOWN, N_ITEMS, logits_of, ratings_of


def test_predict_for_one_user_and_for_pairs(api, name):
    model = ModelRef(name=name)
    response = api.recommender.Predict(PredictRequest(model=model, user=KNOWN, item_ids=ITEM_IDS))
    np.testing.assert_allclose(response.ratings, ratings_of(logits_of(name)), atol=1e-4)
    user_ids = [f"u{row % 40:03}" for row in range(N_ITEMS)]
    response = api.recommender.Predict(PredictRequest(model=model, user_ids=user_ids, item_ids=ITEM_IDS))
    expected = [ratings_of(logits_of(name, row % 40))[row] for row in range(N_ITEMS)]
    np.testing.assert_allclose(response.ratings, expected, atol=1e-4)


def test_predict_with_partial_success_fails_only_the_entries_with_unknown_ids(api):
    request = PredictRequest(
        user_ids=["u001", "nobody", "u002", "u003"],
        item_ids=["i001", "i002", "nothing", "i004"],
        allow_partial_success=True,
    )
    response = api.recommender.Predict(request)
    assert np.isnan(response.ratings).tolist() == [False, True, True, False]
    assert [(e.index, e.reason) for e in response.errors] == [(1, "USER_NOT_FOUND"), (2, "ITEM_NOT_FOUND")]
    assert response.ratings[3] == pytest.approx(float(ratings_of(logits_of("dot"))[4]), abs=1e-4)
    request = PredictRequest(user=User(user_id="nobody"), item_ids=["i001", "nothing"], allow_partial_success=True)
    response = api.recommender.Predict(request)
    assert [e.reason for e in response.errors] == ["USER_NOT_FOUND", "ITEM_NOT_FOUND"]
    request = PredictRequest(user=KNOWN, item_ids=["nothing"], allow_partial_success=True)
    assert np.isnan(api.recommender.Predict(request).ratings).all()
