"""Served lists in the feedback log: what is noted of them, by which methods, and that Recommend never waits."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from cofactor.v1 import model_pb2
from cofactor.v1 import recommender_pb2 as pb
from cofactor_server.feedback import log as feedback_log
from cofactor_server.ranking.overlay.exploration import explore
from cofactor_server.ranking.ranker import Exploration, Ranking
from tests.support.overlays import Twins, publish


def recommend(api, user_id="u003", **fields):
    return api.recommender.Recommend(pb.RecommendRequest(user=pb.User(user_id=user_id), **fields), timeout=60)


def ids(response):
    return [result.item_id for result in response.results]


@pytest.fixture
def lists(rows):
    """Return a function that stops a server and returns the lists that it has logged, by recommendation id."""

    def stop_and_read(api):
        api.server.stop()
        return {row["recommendation_id"]: row for row in rows("served_lists")}

    return stop_and_read


def test_a_list_is_logged_with_its_items_version_and_policy(serve_log, lists) -> None:
    api = serve_log()
    before = time.time()
    first = recommend(api, page_size=5)
    second = recommend(api, page_size=5, page_token=first.next_page_token)
    logged = lists(api)
    assert len(logged) == 2
    row = logged[first.recommendation_id]
    assert 0 <= row.pop("served_us") / 1e6 - before < 60
    assert row.pop("day") in (int(before) // 86_400, int(time.time()) // 86_400)
    assert json.loads(row.pop("item_ids")) == ids(first)
    assert row == {
        "recommendation_id": first.recommendation_id,
        "model": "dot",
        "version": first.model.version,
        "user_id": "u003",
        "policy": "scores",
        "is_routed": 1,
        "is_fallback": 0,
        "first_rank": 1,
        "propensities": None,
    }
    later = logged[second.recommendation_id]
    assert (json.loads(later["item_ids"]), later["first_rank"], later["is_routed"]) == (ids(second), 6, 0)


def test_cached_batched_streamed_and_ruled_lists_are_logged_too(serve_log, lists) -> None:
    api = serve_log()
    request = pb.RecommendRequest(user=pb.User(user_id="u001"), page_size=3)
    responses = [recommend(api, "u001", page_size=3) for _ in range(2)]
    batch = api.recommender.BatchRecommend(pb.BatchRecommendRequest(requests=[request, request]), timeout=60)
    responses += [entry.response for entry in batch.entries]
    stream = api.recommender.StreamRecommend(iter([pb.StreamRecommendRequest(request=request)]), timeout=60)
    responses += [message.response for message in stream]
    rules = pb.RuleSet(pins=[pb.RuleSet.Pin(item_id="i005", position=1)])
    responses.append(recommend(api, "u001", page_size=3, rules=rules))
    version = model_pb2.ModelRef(name="dot", version=responses[0].model.version)
    responses.append(recommend(api, "u001", page_size=3, model=version))
    unknown = recommend(api, "nobody", unknown_user_policy=pb.RecommendRequest.UNKNOWN_USER_POLICY_POPULAR)
    logged = lists(api)
    assert len(logged) == len(responses) + 1
    for response in responses:
        assert json.loads(logged[response.recommendation_id]["item_ids"]) == ids(response)
    noted = [logged[response.recommendation_id] for response in responses]
    assert [row["policy"] for row in noted] == ["scores"] * 5 + ["rules", "scores"]
    assert [row["is_routed"] for row in noted] == [1, 1, 0, 0, 1, 1, 0]
    assert [row["is_fallback"] for row in noted] == [0] * 7
    fallback = logged[unknown.recommendation_id]
    assert (fallback["user_id"], fallback["is_fallback"]) == ("nobody", 1)


def test_a_share_of_the_lists_is_logged(serve_log, lists) -> None:
    api = serve_log(feedback_list_share=0.3)
    for _ in range(300):
        recommend(api)
    assert 50 < len(lists(api)) < 130  # 90 ± 5 standard deviations


def test_no_list_is_logged_with_a_share_of_0(serve_log, lists) -> None:
    api = serve_log(feedback_list_share=0)
    recommend(api)
    assert lists(api) == {}


def test_lists_are_dropped_and_counted_if_too_many_wait(serve_log, lists, monkeypatch) -> None:
    monkeypatch.setattr(feedback_log, "MOST_WAITING_LISTS", 3)
    monkeypatch.setattr(feedback_log, "_TICK_S", 30.0)
    api = serve_log()
    for _ in range(10):
        recommend(api)
    assert len(lists(api)) == 3
    counts = api.server.reporter.report().totals.counters["cofactor_feedback_lists"]
    assert (counts["recorded"], counts["dropped"]) == (3, 7)


def test_explored_lists_have_the_propensity_of_what_was_drawn(serve_log, lists, models, versions, dot_version) -> None:
    twins = Twins(models / "dot" / dot_version.name)
    added = [twins.twin(f"i{10 + n:03}", f"new{n}", bias=-50.0) for n in range(12)]
    publish(models, twins.overlay(1, added, ["i000"]))
    api = serve_log()
    response = recommend(api, page_size=10, exploration_share=0.3)
    row = lists(api)[response.recommendation_id]
    assert row["policy"] == "exploration"
    propensities = json.loads(row["propensities"])
    assert len(propensities) == 10
    assert sum(propensity is not None for propensity in propensities) == 3
    for result, propensity in zip(response.results, propensities, strict=True):
        assert result.is_exploration == result.HasField("propensity") == (propensity is not None)
        assert not result.is_exploration or result.propensity == pytest.approx(propensity)


def test_inverse_propensities_estimate_a_sum_over_all_added_items_without_bias() -> None:
    scores = np.linspace(-2, 2, 8).astype(np.float32)
    candidates = Ranking(np.arange(100, 108), scores, scores)
    flat = np.zeros(50, dtype=np.float32)
    ranking = Ranking(np.arange(50), flat, flat)
    values = {100 + number: value for number, value in enumerate([5.0, 1.0, 0.0, 2.0, 7.0, 1.0, 3.0, 4.0])}
    estimates = []
    for seed in range(4000):
        page = explore(ranking, candidates, Exploration(0.4, b"%d" % seed), 0, 10)
        drawn = [(int(page.rows[place]), page.propensities[place]) for place in np.flatnonzero(page.is_exploration)]
        estimates.append(sum(values[row] / propensity for row, propensity in drawn))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - sum(values.values())) < 4 * error
    assert error < 1.0  # of 23: the test would see a bias of a sixth
