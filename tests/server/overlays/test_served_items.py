"""Serve a version with an overlay: every call agrees on which items there are."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from cofactor.v1 import catalog_pb2
from cofactor.v1 import recommender_pb2 as pb
from tests.support.overlays import Twins, publish

ADDED = {"new1": "i010", "new2": "i050"}  # id of the twin -> the item of the version whose row it has
REMOVED = ["i020", "i021"]
N_ITEMS = 120 + len(ADDED) - len(REMOVED)
RANKINGS = list(pb.RecommendRequest.Ranking.values())


def overlaid(serve_shared, version, versions, folder, **settings):
    """Return a server of one version, with the twins added and two items removed."""
    models = folder / "models"
    copied = versions.copy(version, models, "m")
    twins = Twins(copied)
    added = [twins.twin(of, new, genres=["Fresh"], release_year=2026) for new, of in ADDED.items()]
    publish(models, twins.overlay(3, added, REMOVED))
    return serve_shared(models, poll_interval_s=0, **settings)


@pytest.fixture(
    scope="module",
    params=[("dot_version", {}), ("dot_version", {"batching": "on"}), ("two_part_version", {}), ("shop_like", {})],
    ids=["dot", "dot-batched", "two-part", "ranking"],
)
def api(request, connect_to, versions, dot_version, tmp_path_factory):
    """Return the stubs of a server for every kind of dot product."""
    name, settings = request.param
    folder = tmp_path_factory.mktemp("overlaid")
    if name == "shop_like":
        version = versions.copy(dot_version, folder / "source", "m")
        manifest = versions.read(version)
        manifest.objective, manifest.default_popularity_weight = "ranking", 0
        versions.write(version, manifest)
    else:
        version = request.getfixturevalue(name)
    with overlaid(connect_to, version, versions, folder, **settings) as connection:
        yield connection


def user(user_id="u003"):
    return pb.User(user_id=user_id)


def recommend(api, **fields):
    fields = {"user": user(), "page_size": 130, "include_rated": True, **fields}
    return api.recommender.Recommend(pb.RecommendRequest(**fields), timeout=60)


def scores_of(response):
    return {result.item_id: result.score for result in response.results}


def assert_twins_score_alike(response):
    scores = scores_of(response)
    assert set(ADDED) <= set(scores)
    for new, of in ADDED.items():
        assert scores[new] == pytest.approx(scores[of], abs=1e-4)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_twins_rank_beside_the_items_that_they_are_twins_of(api, ranking) -> None:
    response = recommend(api, ranking=ranking)
    assert len(response.results) == N_ITEMS
    assert_twins_score_alike(response)
    assert not set(REMOVED) & set(scores_of(response))
    values = [result.score for result in response.results]
    assert values == sorted(values, reverse=True)
    assert response.model.overlay_sequence == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"popularity_penalty": 1.5},
        {"diversity": 0.5},
        {"filter": pb.ItemFilter(candidate_item_ids=["i010", "new1", "new2", "i050", "i003"])},
        {"user": pb.User(history=pb.RatingHistory(ratings=[pb.Rating(item_id="i003", rating=5)]))},
    ],
    ids=["penalty", "diversity", "candidates", "history"],
)
def test_twins_rank_alike_in_every_kind_of_request(api, fields) -> None:
    assert_twins_score_alike(recommend(api, **fields))


def test_a_short_page_is_the_beginning_of_the_whole_list(api) -> None:
    whole = [result.item_id for result in recommend(api).results]
    for page_size in (1, 5, 10, 50):
        assert [result.item_id for result in recommend(api, page_size=page_size).results] == whole[:page_size]


def test_pages_fit_together_and_end(api) -> None:
    whole, found, token = [result.item_id for result in recommend(api).results], [], ""
    while True:
        page = recommend(api, page_size=11, page_token=token)
        found += [result.item_id for result in page.results]
        token = page.next_page_token
        if not token:
            break
    assert found == whole


def test_batches_and_streams_give_the_same_as_single_calls(api) -> None:
    requests = [
        pb.RecommendRequest(user=user(f"u{number:03}"), page_size=size) for number in range(8) for size in (3, 115)
    ]
    single = [[r.item_id for r in api.recommender.Recommend(request, timeout=60).results] for request in requests]
    batch = api.recommender.BatchRecommend(pb.BatchRecommendRequest(requests=requests), timeout=60)
    assert [[r.item_id for r in entry.response.results] for entry in batch.entries] == single
    assert batch.model.overlay_sequence == 3
    stream = [pb.StreamRecommendRequest(request_id=str(n), request=request) for n, request in enumerate(requests)]
    streamed = api.recommender.StreamRecommend(iter(stream), timeout=60)
    by_id = {answer.request_id: [r.item_id for r in answer.response.results] for answer in streamed}
    assert [by_id[str(n)] for n in range(len(requests))] == single


def test_rated_items_are_left_out_and_removed_ones_make_no_page_longer(api) -> None:
    everything, unrated = recommend(api), recommend(api, include_rated=False)
    left_out = set(scores_of(everything)) - set(scores_of(unrated))
    assert 0 < len(left_out) <= 12
    assert not left_out & set(ADDED)
    assert not unrated.next_page_token


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"any_genres": ["Fresh"]}, {"new1", "new2"}),
        ({"min_release_year": 2026}, {"new1", "new2"}),
        ({"excluded_genres": ["Fresh"]}, None),
        ({"max_release_year": 2025}, None),
        ({"any_genres": ["Fresh"], "excluded_item_ids": ["new1"]}, {"new2"}),
        ({"any_genres": ["Fresh"], "candidate_item_ids": ["i001", "new1"]}, {"new1"}),
    ],
)
def test_filters_select_added_items_by_their_attributes(api, conditions, expected) -> None:
    found = set(scores_of(recommend(api, filter=pb.ItemFilter(**conditions))))
    if expected is None:
        assert found
        assert not found & set(ADDED)
    else:
        assert found == expected
    similar = api.recommender.SimilarItems(
        pb.SimilarItemsRequest(item_ids=["i030"], page_size=130, filter=pb.ItemFilter(**conditions)), timeout=60
    )
    assert {result.item_id for result in similar.results} == found - {"i030"}


def test_removed_candidates_are_missing(api) -> None:
    response = recommend(api, filter=pb.ItemFilter(candidate_item_ids=["i001", "i020", "new1"]))
    assert set(scores_of(response)) == {"i001", "new1"}
    assert list(response.missing_item_ids) == ["i020"]


def test_items_carry_the_titles_and_attributes_of_the_overlay(api) -> None:
    [item] = [result.item for result in recommend(api, return_items=True).results if result.item_id == "new1"]
    twin = next(r.item for r in recommend(api, return_items=True).results if r.item_id == "i010")
    assert (item.title, list(item.genres), item.release_year) == ("Twin of i010", ["Fresh"], 2026)
    assert item.rating_count == twin.rating_count
    assert item.bias == pytest.approx(twin.bias, abs=1e-4)


def test_similar_items_find_the_twin_first_in_both_directions(api) -> None:
    def similar(*item_ids, page_size=3):
        return api.recommender.SimilarItems(
            pb.SimilarItemsRequest(item_ids=item_ids, page_size=page_size), timeout=60
        ).results

    assert similar("i010")[0].item_id == "new1"
    assert similar("new1")[0].item_id == "i010"
    assert similar("i010")[0].score == pytest.approx(1, abs=1e-4)
    of_new, of_old = similar("new1", "i060", page_size=130), similar("i010", "i060", page_size=130)
    assert not {result.item_id for result in of_new} & {*REMOVED, "new1", "i060"}
    old = {result.item_id: result.score for result in of_old if result.item_id != "new1"}
    new = {result.item_id: result.score for result in of_new if result.item_id != "i010"}
    assert new == pytest.approx(old, abs=1e-4)


def test_predictions_of_twins_are_equal_and_removed_items_are_unknown(api) -> None:
    model = api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=60).model
    if model.objective == "ranking":
        pytest.skip("a ranking model predicts no ratings")
    items = ["new1", "i010", "i050", "new2"]
    one = api.recommender.Predict(pb.PredictRequest(user=user(), item_ids=items), timeout=60).ratings
    assert one[0] == pytest.approx(one[1], abs=1e-4)
    assert one[2] == pytest.approx(one[3], abs=1e-4)
    users = ["u001", "u001", "u002", "u002"]
    pairs = api.recommender.Predict(pb.PredictRequest(user_ids=users, item_ids=items), timeout=60).ratings
    assert pairs[0] == pytest.approx(pairs[1], abs=1e-4)
    assert pairs[2] == pytest.approx(pairs[3], abs=1e-4)
    with pytest.raises(grpc.RpcError) as unknown:
        api.recommender.Predict(pb.PredictRequest(user=user(), item_ids=["i020"]), timeout=60)
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    lowest = float(np.median(one))
    allowed = recommend(api, min_predicted_rating=lowest, ranking=pb.RecommendRequest.RANKING_POPULARITY_CORRECTED)
    assert all(result.predicted_rating >= lowest for result in allowed.results)
    assert set(ADDED) & set(scores_of(allowed))


@pytest.mark.parametrize("ranking", RANKINGS)
def test_explain_splits_the_score_of_a_twin_like_that_of_its_item(api, ranking) -> None:
    def explain(item_id):
        return api.recommender.Explain(pb.ExplainRequest(user=user(), item_id=item_id, ranking=ranking), timeout=60)

    twin, item = explain("new1"), explain("i010")
    for name in ("score", "item_bias", "interaction", "ranking_score", "unexplained"):
        assert getattr(twin, name) == pytest.approx(getattr(item, name), abs=1e-3), name
    assert [c.item_id for c in twin.contributions] == [c.item_id for c in item.contributions]
    assert scores_of(recommend(api, ranking=ranking))["new1"] == pytest.approx(twin.ranking_score, abs=1e-3)
    with pytest.raises(grpc.RpcError) as unknown:
        explain("i020")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


def test_searches_and_lists_hold_added_items_and_no_removed_ones(api) -> None:
    found = api.catalog.SearchItems(catalog_pb2.SearchItemsRequest(query="twin of"), timeout=60).items
    assert {item.item_id for item in found} == set(ADDED)
    exact = api.catalog.SearchItems(catalog_pb2.SearchItemsRequest(query="Twin of i050"), timeout=60).items
    assert [item.item_id for item in exact] == ["new2"]
    removed = api.catalog.SearchItems(catalog_pb2.SearchItemsRequest(query="The Film of 20"), timeout=60).items
    assert "i020" not in {item.item_id for item in removed}
    for order in (1, 2, 3):
        listed = [
            item.item_id
            for item in api.catalog.ListTopItems(
                catalog_pb2.ListTopItemsRequest(order=order, page_size=130), timeout=60
            ).items
        ]
        assert len(listed) == len(set(listed)) == N_ITEMS
        assert abs(listed.index("new1") - listed.index("i010")) < 40
        assert not set(REMOVED) & set(listed)


def test_the_description_counts_the_served_items_and_names_the_overlay(api) -> None:
    model = api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=60).model
    assert (model.item_count, model.overlay_sequence) == (N_ITEMS, 3)


def test_a_rating_of_an_added_item_changes_nothing_but_that_it_is_left_out(api) -> None:
    ratings = [pb.Rating(item_id="i003", rating=5)]
    without = recommend(api, user=pb.User(history=pb.RatingHistory(ratings=ratings)), include_rated=False)
    ratings.append(pb.Rating(item_id="new1", rating=1))
    with_it = recommend(api, user=pb.User(history=pb.RatingHistory(ratings=ratings)), include_rated=False)
    expected = {item_id: score for item_id, score in scores_of(without).items() if item_id != "new1"}
    assert scores_of(with_it) == pytest.approx(expected, abs=1e-5)
    embedded = api.recommender.EmbedNewUser(pb.EmbedNewUserRequest(ratings=ratings), timeout=60)
    assert embedded.used_rating_count == 1
    assert set(embedded.embedding.rated_item_ids) == {"i003", "new1"}
    again = recommend(api, user=pb.User(embedding=embedded.embedding), include_rated=False)
    assert scores_of(again) == pytest.approx(expected, abs=1e-5)


def test_a_rating_of_a_removed_item_still_counts(api) -> None:
    rating = pb.Rating(item_id="i020", rating=5)
    embedded = api.recommender.EmbedNewUser(pb.EmbedNewUserRequest(ratings=[rating]), timeout=60)
    average = api.recommender.EmbedNewUser(pb.EmbedNewUserRequest(), timeout=60)
    assert embedded.used_rating_count == 1
    assert list(embedded.embedding.factors) != list(average.embedding.factors)
    assert "i020" not in scores_of(recommend(api, user=pb.User(embedding=embedded.embedding)))


def test_rules_move_added_items_and_never_bring_back_removed_ones(api) -> None:
    fresh = pb.ItemFilter(any_genres=["Fresh"])
    boosted = recommend(api, rules=pb.RuleSet(boosts=[pb.RuleSet.Boost(filter=fresh, add=50)]))
    assert len(boosted.results) == N_ITEMS
    assert {result.item_id for result in boosted.results[:2]} == set(ADDED)
    assert not set(REMOVED) & set(scores_of(boosted))
    plain = [result.item_id for result in recommend(api).results if result.item_id not in ADDED]
    assert [result.item_id for result in boosted.results[2:]] == plain

    pins = [pb.RuleSet.Pin(item_id="new2", position=3), pb.RuleSet.Pin(item_id=REMOVED[0], position=1)]
    pinned = recommend(api, rules=pb.RuleSet(pins=pins))
    assert pinned.results[2].item_id == "new2"
    assert list(pinned.missing_item_ids) == [REMOVED[0]]
    assert not set(REMOVED) & set(scores_of(pinned))


def test_a_cap_counts_added_items_and_those_of_the_version_together(api) -> None:
    cap = pb.RuleSet.Cap(attribute="release_year", max_count=1)
    capped = recommend(api, rules=pb.RuleSet(caps=[cap]), return_items=True)
    years = [result.item.release_year for result in capped.results if result.item.release_year]
    assert years.count(2026) == 1  # both twins are of this year
    assert len(years) == len(set(years))


def test_rules_and_an_exploration_share_contradict_each_other(api) -> None:
    rules = pb.RuleSet(pins=[pb.RuleSet.Pin(item_id="new1", position=1)])
    with pytest.raises(grpc.RpcError) as refused:
        recommend(api, rules=rules, exploration_share=0.5)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "exploration_share" in refused.value.details()


def test_the_map_and_the_list_to_ask_new_users_about_leave_out_removed_items(api) -> None:
    mapped = {point.item_id for point in api.catalog.GetItemMap(catalog_pb2.GetItemMapRequest(), timeout=60).points}
    informative = catalog_pb2.ListTopItemsRequest.ORDER_MOST_INFORMATIVE
    request = catalog_pb2.ListTopItemsRequest(order=informative, page_size=200)
    listed = {item.item_id for item in api.catalog.ListTopItems(request, timeout=60).items}
    for found in (mapped, listed):
        assert len(found) > 20
        assert not (set(REMOVED) | set(ADDED)) & found
