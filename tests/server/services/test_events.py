"""Events of new users on a real server.

Most models here are a rating model whose manifest says that it learnt from events. So the embedding of events must be
that of ratings with the same numbers as the weights of the items. The model of the last tests did learn from events.
"""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cofactor.v1.catalog_pb2 import GetModelRequest, ListModelsRequest
from cofactor.v1.manifest_pb2 import EventFeedback, EventType
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewUserRequest,
    Event,
    ExplainRequest,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    StreamRecommendRequest,
    User,
)
from tests.support import shop
from tests.support.calls import call, details_of
from tests.support.expected import ids_of

DAY = 86_400
NOW = 1_700_000_000
TYPES = [
    EventType(name="purchase", weight=2, event_count=500),
    EventType(name="return", negative=True, event_count=40),
    EventType(name="view", weight=0.5, event_count=9000),
]
FEEDBACK = {
    "shop": EventFeedback(types=TYPES, half_life_seconds=30 * DAY, newest_event_time=Timestamp(seconds=NOW)),
    "capped": EventFeedback(types=TYPES, weight_cap=1.5, log_weights=True),
    "plays": EventFeedback(types=[EventType(weight=1, event_count=700)]),
}


@pytest.fixture(scope="module")
def api(dot_version, versions, connect_to, tmp_path_factory):
    """Return the stubs of a server with `dot`, which learnt from ratings, and the models of FEEDBACK."""
    models = tmp_path_factory.mktemp("events")
    versions.copy(dot_version, models)
    for name, feedback in FEEDBACK.items():
        version = versions.copy(dot_version, models, name)
        manifest = versions.read(version)
        manifest.objective, manifest.rating_min, manifest.rating_max = "ranking", 0, 0
        manifest.events.CopyFrom(feedback)
        manifest.events.fold_in_scale = 0.1
        versions.write(version, manifest)
    with connect_to(models, model="shop") as connection:
        yield connection


def event(item_id, event_type="", count=0.0, days_ago=None, **time):
    if days_ago is not None:
        time["seconds"] = NOW - int(days_ago * DAY)
    return Event(item_id=item_id, event_type=event_type, count=count, time=Timestamp(**time) if time else None)


def embed(api, *events, model="shop", **fields):
    return api.recommender.EmbedNewUser(EmbedNewUserRequest(model=ModelRef(name=model), events=events, **fields))


def factors_of_ratings(api, ratings):
    pairs = [Rating(item_id=item_id, rating=rating) for item_id, rating in ratings.items()]
    request = EmbedNewUserRequest(model=ModelRef(name="dot"), ratings=pairs)
    return api.recommender.EmbedNewUser(request).embedding.factors


WEIGHTS = [
    ("shop", [event("i005", "purchase"), event("i017", "view")], {"i005": 2, "i017": 0.5}),
    ("shop", [event("i005", "view", 3), event("i005", "purchase"), event("i005", "view", 1)], {"i005": 4}),
    # Halved every 30 days before the newest event, which is 90 days old itself.
    ("shop", [event("i005", "purchase", days_ago=120), event("i017", "purchase", days_ago=90)], {"i005": 1, "i017": 2}),
    ("shop", [event("i005", "purchase", 2, days_ago=60), event("i017", "view")], {"i005": 4, "i017": 0.5}),
    ("shop", [event("i005", "purchase", days_ago=30), event("i017", "view"), event("i040", "view", days_ago=0)],
     {"i005": 1, "i017": 0.5, "i040": 0.5}),
    # An item with a negative event has no weight, but its time counts.
    ("shop", [event("i005", "purchase", days_ago=30), event("i017", "purchase"), event("i017", "return", days_ago=0)],
     {"i005": 1}),
    ("capped", [event("i005", "purchase", days_ago=900), event("i017", "purchase", 4)],
     {"i005": math.log(3), "i017": 1.5}),
    ("plays", [event("i005"), event("i005", count=2.5), event("i017", days_ago=9)], {"i005": 3.5, "i017": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "events", "weights"), WEIGHTS)
def test_events_become_the_weights_of_their_items(api, model, events, weights):
    for order in (events, events[::-1]):
        embedding = embed(api, *order, model=model).embedding
        np.testing.assert_allclose(embedding.factors, factors_of_ratings(api, weights), atol=1e-5)


def test_an_event_without_a_type_is_of_the_only_type_that_is_not_negative(api, versions):
    assert embed(api, event("i005"), model="plays").embedding.factors
    with pytest.raises(grpc.RpcError, match=r'events\[0\]\.event_type: is empty; name one of .*"purchase", "return"'):
        embed(api, event("i005"))


def test_a_response_counts_the_events_and_names_the_items_that_recommend_leaves_out(api):
    events = [event("i005", "purchase"), event("i005", "view"), event("i017", "return"), event("nothing", "view")]
    response = embed(api, *events, skip_unknown_items=True)
    assert (response.used_event_count, response.used_rating_count, response.fit_rmse) == (3, 0, 0)
    assert response.missing_item_ids == ["nothing"]
    assert response.embedding.rated_item_ids == ["i005", "i017"]


def test_recommend_leaves_out_consumed_and_negative_items_unless_asked(api):
    events = [event("i005", "purchase"), event("i017", "return")]
    users = [User(history=RatingHistory(events=events)), User(embedding=embed(api, *events).embedding)]
    for user in users:
        kept = ids_of(api.recommender.Recommend(RecommendRequest(user=user, page_size=1000)))
        everything = ids_of(api.recommender.Recommend(RecommendRequest(user=user, page_size=1000, include_rated=True)))
        assert set(everything) - set(kept) == {"i005", "i017"}


def test_negative_events_alone_leave_the_average_user(api):
    response = embed(api, event("i017", "return"))
    assert response.embedding.factors == embed(api).embedding.factors
    assert (response.used_event_count, response.embedding.rated_item_ids) == (1, ["i017"])


def test_batch_and_stream_recommend_by_events_as_recommend_does(api):
    user = User(history=RatingHistory(events=[event("i005", "purchase", 2), event("i040", "view")]))
    request = RecommendRequest(user=user, page_size=7)
    expected = ids_of(api.recommender.Recommend(request))
    batch = api.recommender.BatchRecommend(BatchRecommendRequest(requests=[request]))
    stream = next(api.recommender.StreamRecommend(iter([StreamRecommendRequest(request_id="a", request=request)])))
    assert [ids_of(batch.entries[0].response), ids_of(stream.response)] == [expected, expected]


def test_a_description_says_what_the_model_learnt_from(api):
    model = api.catalog.GetModel(GetModelRequest()).model
    assert [(kind.name, kind.weight, kind.negative, kind.event_count) for kind in model.events.types] == [
        ("purchase", 2, False, 500), ("return", 0, True, 40), ("view", 0.5, False, 9000),
    ]  # fmt: skip
    assert (model.events.half_life_seconds, model.events.newest_event_time.seconds) == (30 * DAY, NOW)
    assert (model.objective, model.rating_min, model.rating_max) == ("ranking", 0, 0)
    listed = {model.name: model for model in api.catalog.ListModels(ListModelsRequest()).models}
    assert not listed["dot"].HasField("events")
    capped = listed["capped"].events
    assert (capped.weight_cap, capped.log_weights, capped.HasField("newest_event_time")) == (1.5, True, False)


def test_predict_is_refused_with_a_remedy(api):
    with pytest.raises(grpc.RpcError, match="predicts no ratings; use a rating model") as caught:
        api.recommender.Predict(PredictRequest(user=User(user_id="u003"), item_ids=["i001"]))
    assert details_of(caught.value)["ErrorInfo"].reason == "RATINGS_UNSUPPORTED"


def wrong(field, text, *events, ratings=(), model="shop", reason="INVALID_FIELD"):
    name = re.sub(r"[^\w.\[\]-]", "_", f"{model}-{field}-{text}")[:60]
    return pytest.param(SimpleNamespace(events=events, ratings=ratings), model, field, text, reason, id=name)


RATING = Rating(item_id="i005", rating=3)
BAD = [
    wrong("ratings", "this model learnt from events; send `events`", ratings=[RATING]),
    wrong("ratings", "this model learnt from events", event("i005", "view"), ratings=[RATING]),
    wrong("events", "this model learnt from ratings; send `ratings`", event("i005"), model="dot"),
    wrong("events", "has 10001 entries; send at most 10000", *[event("i005", "view")] * 10_001),
    wrong("events[1].event_type", '"buy" is not one of the types that this model knows: "purchase", "return", "view"',
          event("i005", "view"), event("i017", "buy")),
    wrong("events[0].event_type", '"view" is not one of the types that this model knows: none, leave it empty',
          event("i005", "view"), model="plays"),
    wrong("events[0].count", "above 0 and at most 1e+09 (0 for once), not -1", event("i005", "view", -1)),
    wrong("events[0].count", "not nan", event("i005", "view", math.nan)),
    wrong("events[0].count", "not inf", event("i005", "view", math.inf)),
    wrong("events[0].count", "not 1e+10", event("i005", "view", 1e10)),
    # Milliseconds in place of seconds.
    wrong("events[0].time", "not 1700000000000 s", event("i005", "view", seconds=1_700_000_000_000)),
    wrong("events[0].time", "0 to 999999999 nanos", event("i005", "view", nanos=-1)),
    wrong("events[0].item_id", "is empty; name an item", event("", "view")),
    wrong("events[1].item_id", 'item "nothing"', event("i005", "view"), event("nothing", "view"),
          reason="ITEM_NOT_FOUND"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "model", "field", "text", "reason"), BAD)
def test_bad_events_get_an_error_that_names_the_field(api, fields, model, field, text, reason):
    history = RatingHistory(events=fields.events, ratings=fields.ratings)
    ref = ModelRef(name=model)
    requests = {
        "EmbedNewUser": EmbedNewUserRequest(model=ref, events=fields.events, ratings=fields.ratings),
        "Recommend": RecommendRequest(model=ref, user=User(history=history)),
        "Explain": ExplainRequest(model=ref, user=User(history=history), item_id="i001"),
    }
    for method, request in requests.items():
        with pytest.raises(grpc.RpcError) as caught:
            call(api, method, request)
        details = details_of(caught.value)
        assert details["ErrorInfo"].reason == reason
        path = field if method == "EmbedNewUser" else f"user.history.{field}"
        assert [violation.field for violation in details["BadRequest"].field_violations] == [path]
        assert text in caught.value.details()


def test_events_of_unknown_items_alone_are_refused(api):
    with pytest.raises(grpc.RpcError, match=r"events: the model knows none of the items of the events") as caught:
        embed(api, event("nothing", "view"), skip_unknown_items=True)
    assert details_of(caught.value)["ErrorInfo"].reason == "NO_KNOWN_ITEMS"


def test_an_embedding_cannot_be_explained_because_it_lacks_the_events(api):
    user = User(embedding=embed(api, event("i005", "view")).embedding)
    with pytest.raises(grpc.RpcError, match="does not contain the events"):
        api.recommender.Explain(ExplainRequest(user=user, item_id="i001"))


@pytest.fixture(scope="module")
def shop_api(shop_version, connect_to):
    """Return the stubs of a server with a model that learnt from the events of a shop."""
    with connect_to(shop_version.parents[1]) as connection:
        yield connection


def history(*events):
    return User(history=RatingHistory(events=events))


@pytest.mark.parametrize(("item", "liked"), [("tea03", shop.TEA), ("tool03", shop.TOOLS)])
def test_a_purchase_brings_items_of_its_half_of_the_shop(shop_api, item, liked):
    found = ids_of(shop_api.recommender.Recommend(RecommendRequest(user=history(event(item, "purchase")))))
    assert set(found) <= set(liked) - {item}


def test_known_users_are_not_recommended_what_they_bought_viewed_or_returned(shop_api, shop_version):
    rows = [line.split(",") for line in (shop_version.parents[1] / "events.csv").read_text().splitlines()[1:]]
    seen = {item for user, item, *_ in rows if user == "c04"}
    found = shop_api.recommender.Recommend(RecommendRequest(user=User(user_id="c04"), page_size=100))
    assert set(ids_of(found)) == {*shop.TEA, *shop.TOOLS} - seen


def explain(api, user, item_id, **fields):
    return api.recommender.Explain(ExplainRequest(user=user, item_id=item_id, **fields))


def test_an_explanation_names_the_items_of_the_events_with_their_weights(shop_api):
    user = history(event("tea01", "view", 2), event("tea07", "purchase"), event("tea11", "return"))
    listed = shop_api.recommender.Recommend(RecommendRequest(user=user, page_size=100)).results
    response = explain(shop_api, user, "tea02")
    parts = response.ranking
    assert {(part.item_id, part.rating) for part in response.contributions} == {("tea01", 2), ("tea07", 3)}
    assert not response.HasField("predicted_rating")
    assert response.ranking_score == pytest.approx(next(r.score for r in listed if r.item_id == "tea02"), abs=1e-4)
    total = parts.item_part + parts.user_part + sum(reason.contribution for reason in parts.reasons) + parts.other_part
    assert abs(parts.unexplained) < 1e-4 < abs(sum(reason.contribution for reason in parts.reasons))
    assert response.ranking_score == pytest.approx(total, abs=1e-4)


def test_an_event_of_almost_no_weight_contributes_almost_nothing(shop_api):
    """Only if Explain counts weights as the fold-in does, nothing of the other event is left for this one."""
    response = explain(shop_api, history(event("tea01", "view", 1e-6), event("tool07", "purchase")), "tea02")
    small, large = sorted(response.contributions, key=lambda part: abs(part.contribution))
    assert (small.item_id, large.item_id) == ("tea01", "tool07")
    assert abs(small.contribution) < 1e-5 * abs(large.contribution)


@pytest.mark.parametrize("events", [[], [event("tea11", "return")]], ids=["none", "negative"])
def test_without_a_wanted_item_nothing_explains_the_place_in_the_list(shop_api, events):
    response = explain(shop_api, history(*events), "tea02")
    assert (list(response.contributions), list(response.ranking.reasons)) == ([], [])
    assert response.ranking_score == pytest.approx(response.ranking.item_part + response.ranking.user_part, abs=1e-4)


def test_the_open_inference_protocol_recommends_without_ratings(shop_version, serve):
    triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    api = serve(shop_version.parents[1], oip=True)
    with triton.InferenceServerClient(f"127.0.0.1:{api.server.port}") as client:
        user = triton.InferInput("user_id", [1], "BYTES")
        user.set_data_from_numpy(np.array([b"c04"], dtype=np.object_))
        response = client.infer("shop.recommend", [user])
    expected = ids_of(api.recommender.Recommend(RecommendRequest(user=User(user_id="c04"))))
    assert [item_id.decode() for item_id in response.as_numpy("item_id")[0]] == expected
    assert np.isnan(response.as_numpy("rating")).all()


def test_the_explanation_of_a_known_user_leaves_out_what_was_returned(shop_api, shop_version):
    rows = [line.split(",") for line in (shop_version.parents[1] / "events.csv").read_text().splitlines()[1:]]
    mine = [(item, kind) for user, item, kind, *_ in rows if user == "c04"]
    returned = {item for item, kind in mine if kind == "return"}
    response = explain(shop_api, User(user_id="c04"), "tea02", max_contributions=100)
    assert {part.item_id for part in response.contributions} == {item for item, _ in mine} - returned
    assert all(0 < part.rating <= 3 for part in response.contributions)
    assert all(part.contribution > 0 for part in response.contributions)  # for another tea


def test_a_trained_version_describes_its_events(shop_api):
    model = shop_api.catalog.GetModel(GetModelRequest()).model
    assert [(kind.name, kind.weight, kind.negative) for kind in model.events.types] == [
        ("purchase", 3, False), ("return", 0, True), ("view", 1, False),
    ]  # fmt: skip
    assert (model.objective, model.supports_new_users, model.rating_max) == ("ranking", True, 0)
