"""Compare Recommend on a real server with numpy on the same model."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import RecommendRequest, User
from tests.support import synthetic
from tests.support.expected import (
    COUNTS,
    DATASET,
    ITEM_IDS,
    KNOWN,
    N_ITEMS,
    RATED,
    ids_of,
    item_effects_of,
    logits_of,
    ordered,
    ratings_of,
)


def test_recommend_orders_unrated_items_by_logit_plus_popularity(api, name):
    response = api.recommender.Recommend(RecommendRequest(model=ModelRef(name=name), user=KNOWN, page_size=1000))
    scores = logits_of(name) + np.log1p(COUNTS)
    assert ids_of(response) == ordered(scores, set(range(N_ITEMS)) - set(RATED))
    rows = [ITEM_IDS.index(item_id) for item_id in ids_of(response)]
    np.testing.assert_allclose([r.score for r in response.results], scores[rows], atol=1e-4)
    ratings = ratings_of(logits_of(name))[rows]
    np.testing.assert_allclose([r.predicted_rating for r in response.results], ratings, atol=1e-4)
    assert (response.model.name, response.model.execution_provider) == (name, "CPUExecutionProvider")
    assert response.next_page_token == ""


def test_include_rated_ranking_and_penalty_change_the_order(api, name):
    model = ModelRef(name=name)
    everything = range(N_ITEMS)
    request = RecommendRequest(
        model=model, user=KNOWN, page_size=1000, include_rated=True, ranking=RecommendRequest.RANKING_PREDICTED_RATING
    )
    assert ids_of(api.recommender.Recommend(request)) == ordered(logits_of(name), everything)
    request.popularity_penalty = 0.5
    expected = ordered(logits_of(name) - 0.5 * np.log1p(COUNTS), everything)
    assert ids_of(api.recommender.Recommend(request)) == expected


def test_a_ranking_model_orders_by_its_score_and_predicts_no_rating(api):
    response = api.recommender.Recommend(RecommendRequest(model=ModelRef(name="ranker"), user=KNOWN, page_size=1000))
    assert ids_of(response) == ordered(logits_of("dot"), set(range(N_ITEMS)) - set(RATED))
    assert not any(result.HasField("predicted_rating") for result in response.results)


def test_pages_add_up_to_the_whole_list_without_gap_or_repeat(api):
    whole = ids_of(api.recommender.Recommend(RecommendRequest(user=KNOWN, page_size=1000)))
    for page_size in (1, 7, 50):
        pages, token = [], ""
        while True:
            response = api.recommender.Recommend(
                RecommendRequest(user=KNOWN, page_size=page_size, page_token=token), timeout=20
            )
            pages += ids_of(response)
            token = response.next_page_token
            if not token:
                break
            assert len(response.results) == page_size
        assert pages == whole


@pytest.mark.parametrize("diversity", [0.3, 1.0])
def test_pages_of_a_diverse_list_have_no_repeat(api, diversity):
    request = RecommendRequest(user=KNOWN, page_size=9, diversity=diversity)
    pages = []
    for _ in range(100):
        response = api.recommender.Recommend(request, timeout=20)
        pages += ids_of(response)
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert sorted(pages) == sorted(set(ITEM_IDS) - {ITEM_IDS[row] for row in RATED})


def test_diversity_makes_the_results_less_alike(api):
    items = synthetic.make_model("dot-product").item_factors[:-1]
    units = items / np.linalg.norm(items, axis=1, keepdims=True)

    def closeness(diversity):
        request = RecommendRequest(user=KNOWN, page_size=10, diversity=diversity)
        rows = [ITEM_IDS.index(item_id) for item_id in ids_of(api.recommender.Recommend(request))]
        return np.mean((units[rows] @ units[rows].T)[np.triu_indices(10, 1)])

    assert closeness(0.7) < closeness(0.3) < closeness(0)
    plain = ids_of(api.recommender.Recommend(RecommendRequest(user=KNOWN)))
    assert ids_of(api.recommender.Recommend(RecommendRequest(user=KNOWN, diversity=0.7)))[0] == plain[0]


@pytest.mark.parametrize("ranking", [RecommendRequest.RANKING_PREDICTED_RATING, RecommendRequest.RANKING_UNSPECIFIED])
def test_min_predicted_rating_leaves_out_lower_predictions_on_every_page(api, name, ranking):
    request = RecommendRequest(
        model=ModelRef(name=name), user=KNOWN, page_size=7, min_predicted_rating=3.2, ranking=ranking
    )
    ratings = ratings_of(logits_of(name))
    scores = logits_of(name) + (np.log1p(COUNTS) if ranking == 0 else 0)
    found = []
    while True:
        response = api.recommender.Recommend(request)
        found += ids_of(response)
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert found == ordered(scores, set(np.flatnonzero(ratings >= 3.2)) - set(RATED))


def test_an_unknown_user_gets_the_average_users_list_only_with_the_popular_policy(api):
    request = RecommendRequest(
        user=User(user_id="nobody"), page_size=1000, unknown_user_policy=RecommendRequest.UNKNOWN_USER_POLICY_POPULAR
    )
    response = api.recommender.Recommend(request)
    assert response.is_fallback
    assert ids_of(response) == ordered(logits_of("dot", -1) + np.log1p(COUNTS), range(N_ITEMS))
    assert not api.recommender.Recommend(RecommendRequest(user=KNOWN)).is_fallback


def test_return_items_adds_titles_and_attributes(api):
    response = api.recommender.Recommend(RecommendRequest(user=KNOWN, page_size=5, return_items=True))
    effects = item_effects_of("dot")
    for result in response.results:
        row = ITEM_IDS.index(result.item_id)
        assert (result.item.item_id, result.item.title) == (result.item_id, f"The Film of {row}")
        assert tuple(result.item.genres) == DATASET.catalogue.genres[row]
        assert result.item.release_year == DATASET.catalogue.release_years[row]
        assert result.item.rating_count == COUNTS[row]
        assert result.item.bias == pytest.approx(effects[row], abs=1e-5)
    assert not api.recommender.Recommend(RecommendRequest(user=KNOWN)).results[0].HasField("item")


def test_every_response_has_an_id_of_its_own(api):
    ids = {api.recommender.Recommend(RecommendRequest(user=KNOWN)).recommendation_id for _ in range(20)}
    assert len(ids) == 20
