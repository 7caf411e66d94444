"""Explain on a real server: the parts add up, and mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import ExplainRequest, PredictRequest, Rating, RatingHistory, User
from cofactor_server.repository.version_directory import open_version_directory
from tests.support import synthetic

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
    answer = explain(api, name, USERS[user], max_contributions=max_contributions)
    parts = answer.global_bias + answer.user_bias + answer.item_bias + answer.interaction
    assert answer.score == pytest.approx(parts, abs=1e-4)
    shares = [c.contribution for c in answer.contributions]
    assert answer.interaction == pytest.approx(sum(shares) + answer.remainder, abs=1e-4)
    assert len(shares) == min(max_contributions, 12)
    assert np.all(np.diff(np.abs(shares)) <= 0)
    predicted = api.recommender.Predict(
        PredictRequest(model=ModelRef(name=name), user=USERS[user], item_ids=["i007"])
    ).ratings[0]
    assert answer.predicted_rating == pytest.approx(predicted, abs=1e-5)
    assert predicted == pytest.approx(0.5 + 5 / (1 + np.exp(-answer.score)), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_contributions_are_of_the_items_the_user_rated_with_their_ratings(api, name):
    answer = explain(api, name, USERS["known"], max_contributions=1000)
    mine = DATASET.user_rows == 3
    expected = {f"i{row:03}": r for row, r in zip(DATASET.item_rows[mine], DATASET.ratings[mine], strict=True)}
    assert {c.item_id: c.rating for c in answer.contributions} == expected


def test_a_new_users_interaction_is_the_priors_and_the_ratings_shares(api, dot_version):
    """The fold-in's stationary point: what the ratings do not explain is the prior's mean alone."""
    answer = explain(api, "dot", USERS["new"], max_contributions=1000)
    tables = open_version_directory(dot_version).tables
    prior = float(tables["user_prior_mean"][:-1] @ tables["item_factors"][7])
    assert answer.remainder == pytest.approx(prior, abs=0.02)
    assert abs(answer.interaction - prior) > 0.1  # the ratings do explain something here


def test_the_share_of_a_rating_says_what_changing_it_does(api):
    """A rating's share grows with the rating where raising it raises the prediction."""
    shares, interactions = [], []
    for rating in (1.0, 5.0):
        ratings = [*HISTORY[1:], Rating(item_id="i033", rating=rating)]
        answer = explain(api, "dot", User(history=RatingHistory(ratings=ratings)), max_contributions=1000)
        shares.append(next(c.contribution for c in answer.contributions if c.item_id == "i033"))
        interactions.append(answer.interaction)
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
    answer = explain(api, name, User(history=RatingHistory()))
    assert list(answer.contributions) == []
    assert answer.remainder == pytest.approx(answer.interaction)


def test_a_ranking_model_explains_its_score_without_a_rating(api):
    answer = explain(api, "ranker", USERS["known"])
    assert not answer.HasField("predicted_rating")
    assert len(answer.contributions) == 5


def test_a_model_that_cannot_embed_still_explains_a_dot_product(api):
    assert explain(api, "nofold", USERS["known"]).contributions == explain(api, "dot", USERS["known"]).contributions
