"""EmbedNewUser on a real server: an embedding gives the same results as the ratings it was made from."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    EmbedNewUserRequest,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    User,
)
from tests.support.expected import ids_of

RATINGS = [Rating(item_id=f"i{row:03}", rating=rating) for row, rating in [(5, 5.0), (17, 1.0), (40, 4.5), (77, 2.0)]]


def test_an_embedding_is_recommended_the_same_unrated_items_as_the_history(api, name):
    model = ModelRef(name=name)
    embedded = api.recommender.EmbedNewUser(EmbedNewUserRequest(model=model, ratings=RATINGS))
    assert embedded.used_rating_count == 4
    assert list(embedded.embedding.rated_item_ids) == ["i005", "i017", "i040", "i077"]
    by_embedding = api.recommender.Recommend(
        RecommendRequest(model=model, user=User(embedding=embedded.embedding), page_size=1000)
    )
    by_history = api.recommender.Recommend(
        RecommendRequest(model=model, user=User(history=RatingHistory(ratings=RATINGS)), page_size=1000)
    )
    assert by_embedding.results == by_history.results
    assert not {r.item_id for r in RATINGS} & set(ids_of(by_embedding))
    predicted = api.recommender.Predict(
        PredictRequest(
            model=model, user=User(embedding=embedded.embedding), item_ids=[rating.item_id for rating in RATINGS]
        )
    )
    errors = np.array(predicted.ratings) - [rating.rating for rating in RATINGS]
    assert embedded.fit_rmse == pytest.approx(np.sqrt(np.mean(errors**2)), abs=1e-3)
    average = api.recommender.EmbedNewUser(EmbedNewUserRequest(model=model))
    assert (average.fit_rmse, average.used_rating_count) == (0, 0)
    unfitted = api.recommender.Predict(
        PredictRequest(model=model, user=User(embedding=average.embedding), item_ids=[r.item_id for r in RATINGS])
    )
    assert embedded.fit_rmse < np.sqrt(np.mean((np.array(unfitted.ratings) - [r.rating for r in RATINGS]) ** 2))


def test_unknown_items_and_answers_are_skipped_and_listed(api):
    request = EmbedNewUserRequest(
        ratings=[Rating(item_id="nothing", rating=3), RATINGS[0], RATINGS[0]],
        profile={"age": "24"},
        skip_unknown_items=True,
    )
    response = api.recommender.EmbedNewUser(request)
    assert (response.used_rating_count, response.missing_item_ids) == (1, ["nothing"])
    assert response.ignored_profile_keys == ["age"]
    alone = api.recommender.EmbedNewUser(EmbedNewUserRequest(ratings=RATINGS[:1]))
    assert alone.embedding == response.embedding
