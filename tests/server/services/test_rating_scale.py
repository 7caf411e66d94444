"""Every predicted rating is on the rating scale of the model, and the order stays that of the logits."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewUserRequest,
    ExplainRequest,
    PredictRequest,
    Rating,
    RecommendRequest,
    StreamRecommendRequest,
)
from cofactor_server.inference.rating_scale import RatingScale
from cofactor_server.services.open_inference.messages import SERVICE, message_type
from tests.support.expected import DATASET, ITEM_IDS, KNOWN, N_ITEMS, USER, ids_of, logits_of, ordered

LOW, HIGH = 2.5, 3.5
PREDICTIONS = 0.5 + 5 / (1 + np.exp(-logits_of("dot")))
CLIPPED = PREDICTIONS.clip(LOW, HIGH)
UNRATED = set(range(N_ITEMS)) - set(DATASET.item_rows[DATASET.user_rows == USER])
BY_RATING = RecommendRequest(
    user=KNOWN, page_size=N_ITEMS, ranking=RecommendRequest.RANKING_PREDICTED_RATING, include_rated=True
)


@pytest.fixture(scope="module")
def narrow(dot_version, versions, tmp_path_factory, connect_to):
    """Return the stubs of a server of `dot` with a scale so narrow that predictions leave it at both ends."""
    version = versions.copy(dot_version, tmp_path_factory.mktemp("narrow"))
    manifest = versions.read(version)
    manifest.rating_min, manifest.rating_max = LOW, HIGH
    versions.write(version, manifest)
    with connect_to(version.parents[1], oip=True) as api:
        yield api


def ratings_by_item(response):
    return {result.item_id: result.predicted_rating for result in response.results}


def assert_clipped(ratings):
    expected = {ITEM_IDS[row]: CLIPPED[row] for row in range(N_ITEMS)}
    assert ratings == {item_id: pytest.approx(expected[item_id], abs=1e-5) for item_id in ratings}
    assert {LOW, HIGH} < set(ratings.values()), "the case covers both ends"
    assert all(LOW <= rating <= HIGH for rating in ratings.values())


def test_predict_stays_on_the_scale(narrow):
    response = narrow.recommender.Predict(PredictRequest(user=KNOWN, item_ids=ITEM_IDS))
    assert_clipped(dict(zip(ITEM_IDS, response.ratings, strict=True)))


def test_recommend_stays_on_the_scale_and_is_ordered_by_the_logits(narrow):
    response = narrow.recommender.Recommend(BY_RATING)
    assert_clipped(ratings_by_item(response))
    assert ids_of(response) == ordered(logits_of("dot"), range(N_ITEMS))
    scores = [result.score for result in response.results]
    np.testing.assert_allclose(scores, np.sort(logits_of("dot"))[::-1], atol=1e-5)


def test_a_list_of_candidates_stays_on_the_scale(narrow):
    request = RecommendRequest()
    request.CopyFrom(BY_RATING)
    request.filter.candidate_item_ids.extend(ITEM_IDS)
    assert_clipped(ratings_by_item(narrow.recommender.Recommend(request)))


def test_batches_and_streams_stay_on_the_scale(narrow):
    batch = narrow.recommender.BatchRecommend(BatchRecommendRequest(requests=[BY_RATING, BY_RATING]))
    messages = narrow.recommender.StreamRecommend(iter([StreamRecommendRequest(request=BY_RATING)]))
    for response in [*(entry.response for entry in batch.entries), *(message.response for message in messages)]:
        assert_clipped(ratings_by_item(response))


def test_explain_stays_on_the_scale_and_keeps_the_logit(narrow):
    best = int(np.argmax(PREDICTIONS))
    response = narrow.recommender.Explain(ExplainRequest(user=KNOWN, item_id=ITEM_IDS[best]))
    assert response.predicted_rating == HIGH
    assert response.score == pytest.approx(logits_of("dot")[best], abs=1e-5)


@pytest.mark.parametrize("minimum", [LOW, HIGH])
@pytest.mark.parametrize("ranking", ["RANKING_PREDICTED_RATING", "RANKING_POPULARITY_CORRECTED"])
def test_the_minimum_is_compared_with_the_rating_that_is_answered(narrow, minimum, ranking):
    passed = {row for row in UNRATED if CLIPPED[row] >= minimum}
    request = RecommendRequest(user=KNOWN, page_size=N_ITEMS, ranking=ranking, min_predicted_rating=minimum)
    assert set(ids_of(narrow.recommender.Recommend(request))) == {ITEM_IDS[row] for row in passed}


def test_the_fit_of_a_new_user_is_that_of_the_predictions(narrow):
    ratings = [Rating(item_id=item_id, rating=HIGH) for item_id in ITEM_IDS[:20]]
    response = narrow.recommender.EmbedNewUser(EmbedNewUserRequest(ratings=ratings))
    request = PredictRequest(item_ids=ITEM_IDS[:20])
    request.user.embedding.CopyFrom(response.embedding)
    predicted = np.array(narrow.recommender.Predict(request).ratings)
    assert (predicted == HIGH).any(), "some predictions are clipped"
    assert response.fit_rmse == pytest.approx(np.sqrt(np.mean((predicted - HIGH) ** 2)), abs=1e-5)


def test_the_open_inference_protocol_stays_on_the_scale(narrow):
    request = message_type("ModelInferRequest")(model_name="dot.predict")
    for name, ids in (("user_id", ["u003"] * N_ITEMS), ("item_id", ITEM_IDS)):
        tensor = request.inputs.add(name=name, datatype="BYTES", shape=[N_ITEMS])
        tensor.contents.bytes_contents.extend(text.encode() for text in ids)
    infer = narrow.channel.unary_unary(
        f"/inference.{SERVICE}/ModelInfer",
        type(request).SerializeToString,
        message_type("ModelInferResponse").FromString,
    )
    ratings = infer(request, timeout=10).outputs[0].contents.fp32_contents
    assert_clipped(dict(zip(ITEM_IDS, ratings, strict=True)))


def test_a_missing_rating_stays_missing_and_a_ranking_model_has_no_scale(dot_version, versions):
    manifest = versions.read(dot_version)
    ratings = np.array([[-7, 0.5, np.nan, 5.2]], dtype=np.float32)
    np.testing.assert_array_equal(
        RatingScale(manifest).clip(ratings), np.array([[0.5, 0.5, np.nan, 5]], dtype=np.float32)
    )
    manifest.objective = "ranking"
    np.testing.assert_array_equal(RatingScale(manifest).clip(ratings), ratings)
