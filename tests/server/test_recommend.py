"""Recommend, Predict, SimilarItems and EmbedNewUser on a real server, against numpy on the same construction."""

from __future__ import annotations

import gc
import queue
import time

import grpc
import numpy as np
import pytest

import synthetic
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewUserRequest,
    ItemFilter,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    SimilarItemsRequest,
    StreamRecommendRequest,
    User,
)
from cofactor_server.errors import UserNotFound
from waiting import until

ARCHITECTURES = {"dot": "dot-product", "net": "neural-network", "hybrid": "hybrid"}
N_ITEMS = synthetic.N_ITEMS
ITEM_IDS = [f"i{row:03}" for row in range(N_ITEMS)]
USER = 3
KNOWN = User(user_id="u003")
DATASET = synthetic.make_dataset()
RATED = DATASET.item_rows[DATASET.user_rows == USER]
COUNTS = DATASET.item_rating_counts()


def logits_of(name, user=USER):
    """Every item's logit for a user, from the definition in docs/model-format.md."""
    model = synthetic.make_model(ARCHITECTURES[name])
    factors, items = model.user_factors[user], model.item_factors[:-1]
    n = model.n_dot_factors
    logits = items[:, :n] @ factors[:n] + model.item_bias[:-1] + model.user_bias[user] + model.global_bias
    if model.layers:
        hidden = np.hstack([np.tile(factors[n:], (len(items), 1)), items[:, n:]])
        for layer in model.layers[:-1]:
            hidden = np.maximum(hidden @ layer.weight.T + layer.bias, 0)
        logits = logits + (hidden @ model.layers[-1].weight.T + model.layers[-1].bias)[:, 0]
    return logits


def ratings_of(logits):
    return 0.5 + 5 / (1 + np.exp(-logits))


def ids_of(response):
    return [result.item_id for result in response.results]


def ordered(scores, allowed):
    """Ids of the allowed rows, best first, equal scores by id."""
    rows = np.array(sorted(allowed), dtype=int)
    return [ITEM_IDS[row] for row in rows[np.argsort(-scores[rows], kind="stable")]]


@pytest.fixture(params=list(ARCHITECTURES))
def name(request):
    return request.param


def test_recommend_orders_what_the_user_has_not_rated_by_logit_plus_popularity(api, name):
    response = api.recommender.Recommend(RecommendRequest(model=ModelRef(name=name), user=KNOWN, page_size=1000))
    scores = logits_of(name) + np.log1p(COUNTS)
    assert ids_of(response) == ordered(scores, set(range(N_ITEMS)) - set(RATED))
    rows = [ITEM_IDS.index(item_id) for item_id in ids_of(response)]
    np.testing.assert_allclose([r.score for r in response.results], scores[rows], atol=1e-4)
    ratings = ratings_of(logits_of(name))[rows]
    np.testing.assert_allclose([r.predicted_rating for r in response.results], ratings, atol=1e-4)
    assert (response.model.name, response.model.execution_provider) == (name, "CPUExecutionProvider")
    assert response.next_page_token == ""


def test_include_rated_and_ranking_and_penalty_change_the_order(api, name):
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


def test_pages_join_to_the_whole_list_without_gap_or_repeat(api):
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


def attribute_filters():
    genres = DATASET.catalogue.genres
    years = DATASET.catalogue.release_years
    rows = range(N_ITEMS)
    return {
        "any_genres": (
            ItemFilter(any_genres=["Drama", "Comedy"]),
            [r for r in rows if {"Drama", "Comedy"} & set(genres[r])],
        ),
        "excluded_genres": (ItemFilter(excluded_genres=["Action"]), [r for r in rows if "Action" not in genres[r]]),
        "genre nobody has": (ItemFilter(any_genres=["Western"]), []),
        "from": (ItemFilter(min_release_year=1990), [r for r in rows if years[r] >= 1990]),
        "until": (ItemFilter(max_release_year=1970), [r for r in rows if 0 < years[r] <= 1970]),
        "count": (ItemFilter(min_rating_count=5), [r for r in rows if COUNTS[r] >= 5]),
        "few left out": (ItemFilter(min_rating_count=1), [r for r in rows if COUNTS[r] >= 1]),
        "candidates": (ItemFilter(candidate_item_ids=ITEM_IDS[10:40]), range(10, 40)),
        "excluded": (ItemFilter(excluded_item_ids=[*ITEM_IDS[:100], "nothing"]), range(100, N_ITEMS)),
        "together": (
            ItemFilter(
                candidate_item_ids=ITEM_IDS[:90], excluded_item_ids=ITEM_IDS[5:9], any_genres=["Sci-Fi"],
                min_release_year=1965, max_release_year=2010, min_rating_count=2,
            ),
            [
                r for r in range(90)
                if r not in range(5, 9) and "Sci-Fi" in genres[r] and 1965 <= years[r] <= 2010 and COUNTS[r] >= 2
            ],
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(attribute_filters()))
def test_filters_return_what_meets_them_and_nothing_else(api, name, kind):
    item_filter, allowed = attribute_filters()[kind]
    request = RecommendRequest(model=ModelRef(name=name), user=KNOWN, page_size=1000, filter=item_filter)
    for _ in range(2):  # the second time from the filter cache
        response = api.recommender.Recommend(request)
        expected = ordered(logits_of(name) + np.log1p(COUNTS), set(allowed) - set(RATED))
        assert ids_of(response) == expected
    similar = api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i004"], page_size=1000, filter=item_filter))
    assert set(ids_of(similar)) == {ITEM_IDS[row] for row in allowed} - {"i004"}


def test_unknown_candidates_are_listed_and_the_others_answered(api):
    item_filter = ItemFilter(candidate_item_ids=["nothing", "i050", "i051", "nil", "nothing"])
    response = api.recommender.Recommend(RecommendRequest(user=User(user_id="u039"), filter=item_filter))
    assert set(ids_of(response)) == {"i050", "i051"}
    assert response.missing_item_ids == ["nothing", "nil"]
    response = api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i001"], filter=item_filter))
    assert set(ids_of(response)) == {"i050", "i051"}
    assert response.missing_item_ids == ["nothing", "nil"]


@pytest.mark.parametrize("ranking", [RecommendRequest.RANKING_PREDICTED_RATING, RecommendRequest.RANKING_UNSPECIFIED])
def test_a_rating_floor_leaves_out_lower_predictions_on_every_page(api, name, ranking):
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


def test_everything_filtered_away_gives_an_empty_answer(api):
    nothing = ItemFilter(excluded_item_ids=ITEM_IDS)
    response = api.recommender.Recommend(RecommendRequest(user=KNOWN, filter=nothing))
    assert (list(response.results), response.next_page_token) == ([], "")
    response = api.recommender.Recommend(RecommendRequest(user=KNOWN, filter=ItemFilter(candidate_item_ids=["nil"])))
    assert (list(response.results), response.missing_item_ids) == ([], ["nil"])
    response = api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i001"], filter=nothing))
    assert list(response.results) == []


def test_an_unknown_user_is_the_average_user_only_where_that_is_asked_for(api):
    request = RecommendRequest(
        user=User(user_id="nobody"), page_size=1000, unknown_user_policy=RecommendRequest.UNKNOWN_USER_POLICY_POPULAR
    )
    response = api.recommender.Recommend(request)
    assert response.is_fallback
    assert ids_of(response) == ordered(logits_of("dot", -1) + np.log1p(COUNTS), range(N_ITEMS))
    assert not api.recommender.Recommend(RecommendRequest(user=KNOWN)).is_fallback


def test_return_items_brings_titles_and_attributes(api):
    response = api.recommender.Recommend(RecommendRequest(user=KNOWN, page_size=5, return_items=True))
    model = synthetic.make_model("dot-product")
    for result in response.results:
        row = ITEM_IDS.index(result.item_id)
        assert (result.item.item_id, result.item.title) == (result.item_id, f"The Film of {row}")
        assert tuple(result.item.genres) == DATASET.catalogue.genres[row]
        assert result.item.release_year == DATASET.catalogue.release_years[row]
        assert result.item.rating_count == COUNTS[row]
        assert result.item.bias == pytest.approx(float(model.item_bias[row]))
    assert not api.recommender.Recommend(RecommendRequest(user=KNOWN)).results[0].HasField("item")


def test_failed_entries_leave_no_cycles_that_would_keep_the_request(api):
    def failures():
        return [each for each in gc.get_objects() if type(each) is UserNotFound]

    requests = [RecommendRequest(user=KNOWN), RecommendRequest(user=User(user_id="nobody"))]
    gc.collect()
    gc.disable()
    try:
        assert api.recommender.BatchRecommend(BatchRecommendRequest(requests=requests)).entries[1].HasField("error")
        stream = api.recommender.StreamRecommend(StreamRecommendRequest(request=each) for each in requests)
        assert [answer.HasField("error") for answer in stream] == [False, True]
        until(lambda: not failures())  # the server's threads let go after the answer is out
    finally:
        gc.enable()


def test_every_answer_has_an_id_of_its_own(api):
    ids = {api.recommender.Recommend(RecommendRequest(user=KNOWN)).recommendation_id for _ in range(20)}
    assert len(ids) == 20


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


def test_similar_items_are_ordered_by_cosine(api, name):
    items = synthetic.make_model(ARCHITECTURES[name]).item_factors[:-1].astype(np.float64)
    units = items / np.linalg.norm(items, axis=1, keepdims=True)
    mean = units[[4, 9]].mean(0)
    cosines = units @ mean / np.linalg.norm(mean)
    request = SimilarItemsRequest(model=ModelRef(name=name), item_ids=["i004", "i009", "i004"], page_size=1000)
    response = api.recommender.SimilarItems(request)
    assert len(response.results) == N_ITEMS - 2
    assert not {"i004", "i009"} & set(ids_of(response))
    rows = [ITEM_IDS.index(item_id) for item_id in ids_of(response)]
    scores = np.array([result.score for result in response.results])
    assert np.all(np.diff(scores) <= 0)
    np.testing.assert_allclose(scores, cosines[rows], atol=1e-4)


def test_similar_items_pages_join(api):
    whole = ids_of(api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i004"], page_size=1000)))
    request, pages = SimilarItemsRequest(item_ids=["i004"], page_size=11), []
    while True:
        response = api.recommender.SimilarItems(request)
        pages += ids_of(response)
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert pages == whole


RATINGS = [Rating(item_id=f"i{row:03}", rating=rating) for row, rating in [(5, 5.0), (17, 1.0), (40, 4.5), (77, 2.0)]]


def test_an_embedded_user_is_recommended_what_their_history_gets_and_not_what_they_rated(api, name):
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


def varied_requests(n):
    """Requests that differ in user, length, order, exclusions and path through the server."""
    for number in range(n):
        request = RecommendRequest(
            user=User(user_id=f"u{number % 40:03}"), page_size=1 + number % 13, include_rated=number % 3 == 0,
            popularity_penalty=0.25 * (number % 4), diversity=0.5 * (number % 7 == 0),
        )  # fmt: skip
        if number % 5 == 0:
            request.filter.excluded_item_ids.extend(ITEM_IDS[: number % 50])
        if number % 11 == 0:
            request.filter.any_genres.append("Drama")
        yield request


def comparable(response):
    return [(r.item_id, round(r.score, 4)) for r in response.results], bool(response.next_page_token)


def test_a_batch_answers_as_single_calls_do(api, name):
    requests = list(varied_requests(60))
    batch = api.recommender.BatchRecommend(BatchRecommendRequest(model=ModelRef(name=name), requests=requests))
    assert batch.model.name == name
    for entry, request in zip(batch.entries, requests, strict=True):
        request.model.name = name
        assert comparable(entry.response) == comparable(api.recommender.Recommend(request))
        assert not entry.response.HasField("model")


def test_the_page_token_of_a_batch_entry_serves_in_recommend(api):
    model = ModelRef(name="net")
    request = BatchRecommendRequest(model=model, requests=[RecommendRequest(user=KNOWN, page_size=4)])
    token = api.recommender.BatchRecommend(request).entries[0].response.next_page_token
    second = api.recommender.Recommend(RecommendRequest(model=model, user=KNOWN, page_size=4, page_token=token))
    whole = api.recommender.Recommend(RecommendRequest(model=model, user=KNOWN, page_size=8))
    assert ids_of(second) == ids_of(whole)[4:]


def test_a_stream_answers_as_single_calls_do(api, name):
    requests = list(varied_requests(150))
    for request in requests:
        request.model.name = name
    stream = (StreamRecommendRequest(request_id=f"r{n}", request=request) for n, request in enumerate(requests))
    answers = {answer.request_id: answer.response for answer in api.recommender.StreamRecommend(stream, timeout=60)}
    assert len(answers) == 150
    for number, request in enumerate(requests):
        assert comparable(answers[f"r{number}"]) == comparable(api.recommender.Recommend(request))


def test_a_stream_of_one_request_at_a_time_is_answered_at_once(api):
    waiting = queue.Queue()
    stream = api.recommender.StreamRecommend(iter(waiting.get, None), timeout=20)
    for number in range(5):
        waiting.put(StreamRecommendRequest(request_id=str(number), request=RecommendRequest(user=KNOWN)))
        assert next(stream).request_id == str(number)
    waiting.put(None)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_client_that_reads_slowly_holds_the_stream_back_and_loses_nothing(api):
    sent = []
    # 40 kB there and 8 kB back for each: more in all than any buffer or HTTP/2 window on the way holds
    ballast = ItemFilter(excluded_item_ids=["x" * 1000] * 40)

    def requests():
        for number in range(20_000):
            sent.append(number)
            request = RecommendRequest(
                user=KNOWN, page_size=1000, include_rated=True, return_items=True, filter=ballast
            )
            yield StreamRecommendRequest(request_id=str(number), request=request)

    stream = api.recommender.StreamRecommend(requests(), timeout=60)
    assert next(stream).request_id == "0"
    before = -1
    while before < len(sent) < 20_000:
        before = len(sent)
        time.sleep(1)
    assert len(sent) < 20_000  # the server stopped reading
    assert [next(stream).request_id for _ in range(1000)] == [str(number) for number in range(1, 1001)]
    stream.cancel()
    with pytest.raises(grpc.RpcError):
        list(stream)
    assert api.recommender.Recommend(RecommendRequest(user=KNOWN)).results  # and serves on
