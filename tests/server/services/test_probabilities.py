"""Calibrated probabilities of interaction on a real server."""

from __future__ import annotations

import itertools

import grpc
import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.manifest_pb2 import Calibration
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    Event,
    ItemFilter,
    RatingHistory,
    RecommendRequest,
    RuleSet,
    StreamRecommendRequest,
    User,
)
from cofactor_client import Client
from cofactor_server.repository.version_directory import open_version_directory
from tests.support import shop
from tests.support.calls import details_of

KNOWN = Calibration.Curve(intercept=1.5, share_weight=0.9, activity_weight=0.7)
NEW = Calibration.Curve(intercept=-0.5, share_weight=1.2, activity_weight=0.4)
ALL = shop.N_ITEMS


@pytest.fixture(scope="module")
def directory(shop_version, versions, tmp_path_factory):
    """Return a version of the shop with a calibration; the version `plain` beside it has none."""
    models = tmp_path_factory.mktemp("calibrated")
    versions.copy(shop_version, models, "plain")
    version = versions.copy(shop_version, models, "shop")
    manifest = versions.read(version)
    manifest.calibration.CopyFrom(Calibration(known_users=KNOWN, new_users=NEW, meaning="that it is bought"))
    versions.write(version, manifest)
    return open_version_directory(version)


@pytest.fixture(scope="module")
def api(directory, connect_to):
    with connect_to(directory.path.parents[1], model="shop") as connection:
        yield connection


def recommend(api, user, model="shop", **fields):
    request = RecommendRequest(model=ModelRef(name=model), user=user, return_probabilities=True, **fields)
    return api.recommender.Recommend(request)


def expected(curve, scores, n_items):
    """Return the probabilities of items by their scores, by the formula in manifest.proto."""
    shares = np.exp(scores) / np.exp(scores).sum()
    odds = np.exp(curve.intercept) * shares**curve.share_weight * (n_items + 1) ** curve.activity_weight
    return odds / (1 + odds)


def known(user_id="c04"):
    return User(user_id=user_id)


def bought(*item_ids):
    return User(history=RatingHistory(events=[Event(item_id=item_id, event_type="purchase") for item_id in item_ids]))


def test_probabilities_of_a_known_user_follow_the_calibration(api):
    results = recommend(api, known(), page_size=ALL).results
    scores = np.array([result.score for result in results], np.float64)
    np.testing.assert_allclose(
        [result.probability for result in results], expected(KNOWN, scores, ALL - len(results)), rtol=1e-4
    )
    assert len(results) == ALL - 9  # that many items has every customer events of


def test_probabilities_of_a_new_user_follow_the_calibration_of_new_users(api):
    results = recommend(api, bought("tea00", "tea01"), page_size=ALL).results
    scores = np.array([result.score for result in results], np.float64)
    np.testing.assert_allclose([result.probability for result in results], expected(NEW, scores, 2), rtol=1e-4)


def test_the_average_user_has_those_of_a_new_user_without_events(api):
    popular = RecommendRequest.UNKNOWN_USER_POLICY_POPULAR
    results = recommend(api, User(user_id="nobody"), page_size=ALL, unknown_user_policy=popular).results
    scores = np.array([result.score for result in results], np.float64)
    np.testing.assert_allclose([result.probability for result in results], expected(NEW, scores, 0), rtol=1e-4)


def test_a_probability_does_not_depend_on_order_page_filter_or_rules(api):
    of_item = {result.item_id: result.probability for result in recommend(api, known(), page_size=ALL).results}
    boost = RuleSet.Boost(filter=ItemFilter(candidate_item_ids=["tool05"]), add=5)
    for fields in (
        {"ranking": RecommendRequest.RANKING_POPULARITY_CORRECTED},
        {"popularity_penalty": 2.0},
        {"diversity": 0.7},
        {"filter": ItemFilter(candidate_item_ids=["tool05", "tool07"])},
        {"rules": RuleSet(boosts=[boost])},
        {"rules": RuleSet(boosts=[boost]), "explain_rules": True},
        {"return_items": True},
    ):
        results = recommend(api, known(), page_size=5, **fields).results
        assert results, fields
        for result in results:
            assert result.probability == pytest.approx(of_item[result.item_id], rel=1e-5), fields


def test_an_item_that_the_user_has_events_of_has_no_probability(api):
    results = recommend(api, known(), page_size=ALL, include_rated=True).results
    assert sum(not result.HasField("probability") for result in results) == 9
    left_out = {result.item_id for result in results if not result.HasField("probability")}
    assert not left_out & {result.item_id for result in recommend(api, known(), page_size=ALL).results}


def test_batches_and_streams_have_probabilities_where_they_are_asked_for(api):
    plain = RecommendRequest(user=known(), page_size=3)
    asked = RecommendRequest(user=known(), page_size=3, return_probabilities=True)
    single = [result.probability for result in recommend(api, known(), page_size=3).results]
    batch = api.recommender.BatchRecommend(BatchRecommendRequest(requests=[plain, asked])).entries
    assert not any(result.HasField("probability") for result in batch[0].response.results)
    assert [result.probability for result in batch[1].response.results] == pytest.approx(single)
    requests = (StreamRecommendRequest(request_id=str(n), request=request) for n, request in enumerate([plain, asked]))
    streamed = {entry.request_id: entry.response.results for entry in api.recommender.StreamRecommend(requests)}
    assert not any(result.HasField("probability") for result in streamed["0"])
    assert [result.probability for result in streamed["1"]] == pytest.approx(single)


def test_a_response_without_probabilities_is_not_given_to_who_asks_for_them(api):
    """Both responses are cached."""
    for asks, _ in itertools.product((False, True), range(2)):
        request = RecommendRequest(user=known("c06"), page_size=2, return_probabilities=asks)
        assert all(result.HasField("probability") == asks for result in api.recommender.Recommend(request).results)


def test_a_version_without_calibration_refuses_with_a_remedy(api):
    with pytest.raises(grpc.RpcError) as refused:
        recommend(api, known(), model="plain")
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "train it from events, some of which are held out" in refused.value.details()
    assert details_of(refused.value)["ErrorInfo"].reason == "PROBABILITIES_UNSUPPORTED"


def test_get_model_says_what_the_probabilities_are_of(api):
    model = api.catalog.GetModel(GetModelRequest(model=ModelRef(name="shop"))).model
    assert (model.supports_probabilities, model.probability_meaning) == (True, "that it is bought")
    assert not api.catalog.GetModel(GetModelRequest(model=ModelRef(name="plain"))).model.supports_probabilities


def test_the_python_client_returns_probabilities(api):
    with Client(f"localhost:{api.server.port}") as client:
        asked = client.recommend("c04", k=3, return_probabilities=True)
        assert [scored.probability for scored in asked] == pytest.approx(
            [result.probability for result in recommend(api, known(), page_size=3).results]
        )
        assert [scored.probability for scored in client.recommend("c04", k=3)] == [None] * 3
        assert client.get_model().model.probability_meaning == "that it is bought"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [("share_weight", 0.0, "share_weight that is not above 0"), ("intercept", float("nan"), "calibration.known_users")],
)
def test_a_version_with_a_senseless_calibration_is_refused(directory, versions, tmp_path, field, value, problem):
    from cofactor_server.errors import ModelRefused

    version = versions.copy(directory.path, tmp_path, "shop")
    manifest = versions.read(version)
    setattr(manifest.calibration.known_users, field, value)
    versions.write(version, manifest)
    with pytest.raises(ModelRefused, match=problem):
        open_version_directory(version)
