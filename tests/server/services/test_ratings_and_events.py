"""A version that learnt from a table of ratings and events predicts, ranks, explains, and folds in new users.

Its events tell what customers like (tea or tools), and its ratings tell how good the items are: see
tests/support/shop.py.
"""

from __future__ import annotations

from collections import defaultdict

import grpc
import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.recommender_pb2 import (
    EmbedNewUserRequest,
    Event,
    ExplainRequest,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    User,
)
from tests.support import shop
from tests.support.calls import details_of
from tests.support.expected import ids_of

GOOD = {*shop.TEA[:10], *shop.TOOLS[:10]}
VIEWS = [Event(item_id=item, event_type="view") for item in ("tea03", "tea12", "tea05")]
BUY = [Event(item_id="tea04", event_type="buy")]
RATINGS = [Rating(item_id=item, rating=5 if item in GOOD else 1) for item in ("tea02", "tool02", "tea14", "tool14")]


@pytest.fixture(scope="module")
def api(mixed_version, connect_to):
    """Return the stubs of a server with the version."""
    with connect_to(mixed_version.parents[1]) as connection:
        yield connection


@pytest.fixture(scope="module")
def table(mixed_version):
    """Return the events of each customer: (item, type, rating or "")."""
    rows = defaultdict(list)
    for line in (mixed_version.parents[1] / "table.csv").read_text().splitlines()[1:]:
        user, item, kind, rating, _ = line.split(",")
        rows[user].append((item, kind, rating))
    return rows


def new_user(ratings=(), events=()):
    return User(history=RatingHistory(ratings=ratings, events=events))


def recommend(api, user, **fields):
    return ids_of(api.recommender.Recommend(RecommendRequest(user=user, **fields)))


def predict(api, user, *item_ids):
    response = api.recommender.Predict(PredictRequest(user=user, item_ids=item_ids))
    return dict(zip(item_ids, response.ratings, strict=True))


def embed(api, ratings=(), events=(), **fields):
    return api.recommender.EmbedNewUser(EmbedNewUserRequest(ratings=ratings, events=events, **fields))


def share_of_tea(item_ids):
    return np.mean([item_id in shop.TEA for item_id in item_ids])


def test_known_users_are_rated_by_ratings_and_ranked_by_events(api):
    for customer, taste in (("c02", 1), ("c03", 0)):
        user = User(user_id=customer)
        ratings = predict(api, user, "tea01", "tea18", "tool01", "tool18")
        assert min(ratings["tea01"], ratings["tool01"]) > 3.5 > 2.5 > max(ratings["tea18"], ratings["tool18"])
        assert share_of_tea(recommend(api, user, page_size=4)) == taste


def test_a_customer_without_a_rating_is_ranked_by_events_and_rated_as_the_average_customer(api, table):
    user = User(user_id="c78")
    assert not any(rating for *_, rating in table["c78"])
    assert share_of_tea(recommend(api, user, page_size=5)) == 1
    average = predict(api, new_user(), "tea01", "tool18")
    assert predict(api, user, "tea01", "tool18") == pytest.approx(average, abs=0.3)


def test_items_of_ratings_events_and_negative_events_are_left_out(api, table):
    known = {item for item, *_ in table["c04"]}
    assert set(recommend(api, User(user_id="c04"), page_size=100)) == {*shop.TEA, *shop.TOOLS} - known
    events = [*VIEWS, Event(item_id="tool07", event_type="return")]
    found = recommend(api, new_user(RATINGS, events), page_size=100)
    given = {*(rating.item_id for rating in RATINGS), *(event.item_id for event in events)}
    assert set(found) == {*shop.TEA, *shop.TOOLS} - given
    assert set(embed(api, RATINGS, events).embedding.rated_item_ids) == given


def test_events_alone_order_the_list_and_leave_the_predictions_of_the_average_user(api):
    user = new_user(events=[*VIEWS, *BUY])
    assert share_of_tea(recommend(api, user, page_size=5)) == 1
    items = ("tea01", "tool18", "tool01")
    assert predict(api, user, *items) == pytest.approx(predict(api, new_user(), *items), abs=1e-5)


def test_ratings_alone_move_the_predictions_and_count_as_events(api):
    hater = [Rating(item_id=item, rating=1) for item in shop.TEA[:10]]
    before, after = (predict(api, user, "tea15")["tea15"] for user in (new_user(), new_user(hater)))
    assert after < before
    # Who rates teas has had them: that is an event, whatever the rating.
    by_rating = recommend(api, new_user(hater), page_size=5, ranking=RecommendRequest.RANKING_PREDICTED_RATING)
    assert share_of_tea(recommend(api, new_user(hater), page_size=5)) == 1
    assert share_of_tea(by_rating) < 0.5


def ranking_columns(embedding, n_rating):
    return np.array(embedding.factors[n_rating:])


def test_a_rating_folds_into_the_ranking_as_a_review_does_unless_the_item_has_events(api, versions, mixed_version):
    manifest = versions.read(mixed_version)
    assert manifest.events.rating_weight == 0.5
    n_rating = manifest.user_factor_count - manifest.ranking_factor_count
    as_rating = embed(api, [Rating(item_id="tea03", rating=4)])
    as_review = embed(api, events=[Event(item_id="tea03", event_type="review")])
    np.testing.assert_allclose(
        ranking_columns(as_rating.embedding, n_rating), ranking_columns(as_review.embedding, n_rating), atol=1e-5
    )
    assert as_rating.embedding.bias != pytest.approx(as_review.embedding.bias, abs=1e-4)
    view = [Event(item_id="tea03", event_type="view")]
    both, viewed = embed(api, [Rating(item_id="tea03", rating=4)], view), embed(api, events=view)
    np.testing.assert_allclose(
        ranking_columns(both.embedding, n_rating), ranking_columns(viewed.embedding, n_rating), atol=1e-5
    )
    rating_columns = slice(0, n_rating)
    np.testing.assert_allclose(
        both.embedding.factors[rating_columns], as_rating.embedding.factors[rating_columns], atol=1e-5
    )


def test_a_negative_event_takes_the_weight_of_a_rated_item_but_not_its_rating(api, versions, mixed_version):
    manifest = versions.read(mixed_version)
    n_rating = manifest.user_factor_count - manifest.ranking_factor_count
    returned = embed(api, [Rating(item_id="tea03", rating=1)], [Event(item_id="tea03", event_type="return")])
    nobody, rated = embed(api), embed(api, [Rating(item_id="tea03", rating=1)])
    np.testing.assert_allclose(
        ranking_columns(returned.embedding, n_rating), ranking_columns(nobody.embedding, n_rating), atol=1e-5
    )
    assert returned.embedding.bias == pytest.approx(rated.embedding.bias, abs=1e-5)
    assert list(returned.embedding.rated_item_ids) == ["tea03"]


def test_the_response_counts_ratings_and_events_apart(api):
    unknown = Rating(item_id="nothing", rating=3)
    response = embed(
        api, [*RATINGS, unknown], [*VIEWS, Event(item_id="none", event_type="buy")], skip_unknown_items=True
    )
    assert (response.used_rating_count, response.used_event_count) == (4, 3)
    assert list(response.missing_item_ids) == ["nothing", "none"]
    assert response.fit_rmse > 0
    assert embed(api, events=VIEWS).fit_rmse == 0


@pytest.mark.parametrize("ratings", [[], RATINGS], ids=["events", "both"])
def test_unknown_items_alone_are_refused_and_known_ones_are_enough(api, ratings):
    missing = [Event(item_id="nothing", event_type="view")]
    if ratings:
        assert embed(api, ratings, missing, skip_unknown_items=True).used_rating_count == 4
        return
    with pytest.raises(grpc.RpcError) as caught:
        embed(api, events=missing, skip_unknown_items=True)
    assert details_of(caught.value)["ErrorInfo"].reason == "NO_KNOWN_ITEMS"


def explain(api, user, item_id="tea01", **fields):
    return api.recommender.Explain(ExplainRequest(user=user, item_id=item_id, max_contributions=50, **fields))


def check_sums(response):
    parts = response.ranking
    total = parts.item_part + parts.user_part + sum(reason.contribution for reason in parts.reasons) + parts.other_part
    assert response.ranking_score == pytest.approx(total + parts.unexplained, abs=1e-4)
    interaction = response.average_interaction + sum(part.contribution for part in response.contributions)
    assert response.interaction == pytest.approx(
        interaction + response.other_contributions + response.unexplained, abs=1e-4
    )


@pytest.mark.parametrize(
    ("ratings", "events"),
    [(RATINGS, []), ([], VIEWS), (RATINGS, VIEWS), ([], [])],
    ids=["ratings", "events", "both", "no"],
)
def test_ratings_explain_the_prediction_and_events_the_place_in_the_list(api, ratings, events):
    response = explain(api, new_user(ratings, [*events, Event(item_id="tool07", event_type="return")]))
    check_sums(response)
    assert abs(response.ranking.unexplained) < 1e-3
    given = {rating.item_id: rating.rating for rating in ratings}
    assert {part.item_id: part.rating for part in response.contributions} == given
    weights = dict.fromkeys(given, 0.5) | {event.item_id: 2 for event in events}
    for reason in response.ranking.reasons:
        assert (reason.rating, reason.event_weight) == (given.get(reason.item_id, 0), weights[reason.item_id])
    assert bool(response.ranking.reasons) == bool(weights)


def test_a_known_user_is_explained_by_the_ratings_and_events_of_the_table(api, table):
    response = explain(api, User(user_id="c04"), next(i for i in shop.TEA if i not in {row[0] for row in table["c04"]}))
    check_sums(response)
    rated = {item: float(rating) for item, _, rating in table["c04"] if rating}
    assert {part.item_id: part.rating for part in response.contributions} == rated
    bought = {item for item, kind, _ in table["c04"] if kind == "buy"}
    weights = {reason.item_id: reason.event_weight for reason in response.ranking.reasons}
    assert all(weights[item] == 4 for item in bought & weights.keys())
    assert shop.RETURNED not in weights


def test_a_description_has_the_scale_and_the_events(api):
    model = api.catalog.GetModel(GetModelRequest()).model
    assert (model.objective, model.rating_min, model.rating_max, model.has_ranking_part) == ("rating", 1, 5, True)
    assert {kind.name: kind.weight for kind in model.events.types} == {"view": 2, "buy": 4, "review": 0.5, "return": 0}
    assert model.events.rating_weight == 0.5
    assert {"rmse", "ndcg@10"} <= model.metrics.keys()


def test_a_rating_off_the_scale_and_an_unknown_type_are_refused(api):
    for fields, field in (
        ({"ratings": [Rating(item_id="tea01", rating=9)]}, "ratings[0].rating"),
        ({"events": [Event(item_id="tea01", event_type="sniff")]}, "events[0].event_type"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            embed(api, **fields)
        assert [v.field for v in details_of(caught.value)["BadRequest"].field_violations] == [field]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: setattr(m, "format_version", 2), "must have format 3 and a ranking part"),
        (lambda m: m.ClearField("events"), "has format 3, and does not predict ratings and rank by events"),
        (lambda m: setattr(m.events, "rating_weight", -1), "a negative events.rating_weight"),
        (lambda m: m.tables.remove(next(t for t in m.tables if t.name == "rated.weights")), "rated.weights is missing"),
        (lambda m: next(t for t in m.tables if t.name == "rated.has_rating").shape.__setitem__(0, 7), "has shape [7]"),
    ],
)
def test_a_version_that_contradicts_itself_is_refused(mixed_version, versions, tmp_path, change, reason):
    from cofactor_server.errors import ModelRefused
    from cofactor_server.repository.version_directory import open_version_directory

    version = versions.copy(mixed_version, tmp_path)
    manifest = versions.read(version)
    change(manifest)
    versions.write(version, manifest)
    with pytest.raises(ModelRefused) as caught:
        open_version_directory(version)
    assert reason in str(caught.value)
