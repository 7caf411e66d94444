"""Explain on a real server: the parts add up to the score, and each has its documented meaning."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import ExplainRequest, PredictRequest, Rating, RatingHistory, RecommendRequest, User
from cofactor_server.repository.version_directory import open_version_directory
from tests.support import synthetic
from tests.support.expected import COUNTS, item_effects_of, logits_of, ratings_of

NAMES = ["dot", "net", "hybrid"]
DATASET = synthetic.make_dataset()
HISTORY = [Rating(item_id=f"i{row:03}", rating=1 + row % 5) for row in range(0, 60, 5)]
USERS = {"known": User(user_id="u003"), "new": User(history=RatingHistory(ratings=HISTORY))}


def explain(api, name, user, **fields):
    return api.recommender.Explain(ExplainRequest(model=ModelRef(name=name), user=user, item_id="i007", **fields))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("user", list(USERS))
@pytest.mark.parametrize("max_contributions", [1, 5, 1000])
def test_the_parts_add_up(api, name, user, max_contributions):
    response = explain(api, name, USERS[user], max_contributions=max_contributions)
    parts = response.global_bias + response.user_bias + response.item_bias + response.interaction
    assert response.score == pytest.approx(parts, abs=1e-4)
    shares = [c.contribution for c in response.contributions]
    assert response.interaction == pytest.approx(sum(shares) + response.remainder, abs=1e-4)
    assert len(shares) == min(max_contributions, 12)
    assert response.other_rating_count == 12 - len(shares)
    rest = response.average_interaction + response.other_contributions + response.unexplained
    assert response.remainder == pytest.approx(rest, abs=1e-5)
    assert np.all(np.diff(np.abs(shares)) <= 0)
    predicted = api.recommender.Predict(
        PredictRequest(model=ModelRef(name=name), user=USERS[user], item_ids=["i007"])
    ).ratings[0]
    assert response.predicted_rating == pytest.approx(predicted, abs=1e-5)
    assert predicted == pytest.approx(ratings_of(response.score), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_part_of_the_item_is_its_bias_in_the_catalogue(api, name):
    response = explain(api, name, USERS["known"])
    assert response.item_bias == pytest.approx(item_effects_of(name)[7], abs=1e-5)
    assert response.item_bias != 0


@pytest.mark.parametrize("name", ["net", "hybrid"])
def test_the_part_of_a_user_of_a_network_is_what_the_users_logits_have_in_common(api, name):
    rows = np.unique(np.linspace(0, 119, 64).astype(int))
    rest = logits_of(name)[rows] - item_effects_of(name)[rows] - synthetic.make_model().global_bias
    response = explain(api, name, USERS["known"])
    assert response.user_bias == pytest.approx(rest.mean(), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_contributions_are_of_the_items_the_user_rated_with_their_ratings(api, name):
    response = explain(api, name, USERS["known"], max_contributions=1000)
    mine = DATASET.user_rows == 3
    expected = {f"i{row:03}": r for row, r in zip(DATASET.item_rows[mine], DATASET.ratings[mine], strict=True)}
    assert {c.item_id: c.rating for c in response.contributions} == expected


def test_the_interaction_of_a_new_user_is_the_share_of_the_prior_plus_those_of_the_ratings(api, dot_version):
    """At the stationary point of fold-in, the ratings explain all of the interaction but the prior mean's part."""
    response = explain(api, "dot", USERS["new"], max_contributions=1000)
    tables = open_version_directory(dot_version).tables
    prior = float(tables["user_prior_mean"][:-1] @ tables["item_factors"][7])
    prior += float(tables["item_bias"][7] - tables["item_effect"][7])  # the rest of the item's part
    assert response.remainder == pytest.approx(prior, abs=0.02)
    assert abs(response.interaction - prior) > 0.1  # the ratings explain a part of it here


@pytest.mark.parametrize("name", [*NAMES, "ranker"])
@pytest.mark.parametrize("item_row", [0, 7, 50])
def test_the_ranking_score_is_the_score_that_orders_the_list(api, name, item_row):
    model, user, item_id = ModelRef(name=name), USERS["known"], f"i{item_row:03}"
    response = api.recommender.Explain(ExplainRequest(model=model, user=user, item_id=item_id))
    listed = api.recommender.Recommend(RecommendRequest(model=model, user=user, include_rated=True, page_size=1000))
    score = next(result.score for result in listed.results if result.item_id == item_id)
    assert response.ranking_score == pytest.approx(score, abs=1e-5)
    assert response.ranking_score == pytest.approx(response.score + response.popularity, abs=1e-5)
    assert response.popularity == pytest.approx(0 if name == "ranker" else np.log1p(COUNTS[item_row]), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_average_interaction_is_that_of_a_user_without_ratings(api, name):
    average = explain(api, name, User(history=RatingHistory()))
    assert average.unexplained == pytest.approx(0, abs=1e-5)
    for user in USERS.values():
        assert explain(api, name, user).average_interaction == pytest.approx(average.interaction, abs=1e-5)


@pytest.mark.parametrize("max_contributions", [1, 5])
def test_the_ratings_of_a_new_user_explain_all_that_is_not_common_to_all_users(api, max_contributions):
    response = explain(api, "dot", USERS["new"], max_contributions=max_contributions)
    whole = explain(api, "dot", USERS["new"], max_contributions=1000)
    by_ratings = response.interaction - response.average_interaction
    assert abs(response.unexplained) < 0.02 < abs(by_ratings) / 5
    others = sum(part.contribution for part in whole.contributions[max_contributions:])
    assert response.other_contributions == pytest.approx(others, abs=1e-5)


def test_the_answers_of_a_new_user_belong_to_the_average_and_not_to_the_ratings(profile_version, serve):
    api = serve(profile_version.parents[1], model="profile")
    histories = [RatingHistory(ratings=HISTORY, profile=profile) for profile in ({}, {"age": "70", "mood": "strict"})]
    plain, answered = (explain(api, "profile", User(history=history)) for history in histories)
    assert abs(answered.average_interaction - plain.average_interaction) > 1e-3
    for response in (plain, answered):
        assert response.unexplained == pytest.approx(0, abs=0.02)


def test_the_contribution_of_a_rating_moves_with_the_rating(api):
    """If a higher rating raises the prediction, its contribution rises too."""
    shares, interactions = [], []
    for rating in (1.0, 5.0):
        ratings = [*HISTORY[1:], Rating(item_id="i033", rating=rating)]
        response = explain(api, "dot", User(history=RatingHistory(ratings=ratings)), max_contributions=1000)
        shares.append(next(c.contribution for c in response.contributions if c.item_id == "i033"))
        interactions.append(response.interaction)
    assert np.sign(shares[1] - shares[0]) == np.sign(interactions[1] - interactions[0]) != 0


@pytest.mark.parametrize("name", ["net", "hybrid"])
def test_leaving_a_rating_out_changes_the_interaction_by_its_contribution(api, name):
    whole = explain(api, name, USERS["new"], max_contributions=1000)
    first = whole.contributions[0]
    rest = [rating for rating in HISTORY if rating.item_id != first.item_id]
    without = explain(api, name, User(history=RatingHistory(ratings=rest)))
    assert whole.interaction - without.interaction == pytest.approx(first.contribution, abs=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_user_without_ratings_has_no_contributions(api, name):
    response = explain(api, name, User(history=RatingHistory()))
    assert list(response.contributions) == []
    assert response.remainder == pytest.approx(response.interaction)


def test_a_ranking_model_explains_its_score_without_a_rating(api):
    response = explain(api, "ranker", USERS["known"])
    assert not response.HasField("predicted_rating")
    assert len(response.contributions) == 5


def test_a_model_that_cannot_embed_still_explains_a_dot_product(api):
    assert explain(api, "nofold", USERS["known"]).contributions == explain(api, "dot", USERS["known"]).contributions
