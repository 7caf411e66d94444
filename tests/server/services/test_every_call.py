"""Every RPC answers for every architecture, with and without ranking part and profiles, and for every kind of user."""

from __future__ import annotations

import itertools

import grpc
import numpy as np
import pytest

from cofactor.v1 import catalog_pb2, recommender_pb2
from cofactor.v1.model_pb2 import Item, ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewItemRequest,
    EmbedNewUserRequest,
    ExplainRequest,
    ItemRating,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    SimilarItemsRequest,
    StreamRecommendRequest,
    User,
)
from cofactor_trainer.export.version_writer import export_version
from tests.support import synthetic

ARCHITECTURES = {
    "dot": ("dot-product", "rating"),
    "net": ("neural-network", "rating"),
    "hybrid": ("hybrid", "rating"),
    "ranking": ("dot-product", "ranking"),
}
# With a ranking part: every architecture, and one network and one dot product with profiles.
TWO_PARTS = {"two-part": "dot-product", "two-part-net": "neural-network", "two-part-hybrid": "hybrid"}
MODELS = [f"{name}{suffix}" for name in ARCHITECTURES for suffix in ("", "-profiles")]
MODELS += [*TWO_PARTS, "two-part-profiles", "two-part-net-profiles"]
RATINGS = [Rating(item_id=f"i{row:03}", rating=1 + row % 5) for row in range(0, 60, 5)]
PROFILE = {"age": "45", "mood": "strict"}
USERS = ["known user", "embedding", "history", "history with profile"]
LOW, HIGH = 0.5, 5.0


def export(models, name, *, has_profiles):
    dataset, objective = synthetic.make_dataset(), "rating"
    if name in TWO_PARTS:
        model = synthetic.make_two_part_model(TWO_PARTS[name])
    else:
        architecture, objective = ARCHITECTURES[name]
        model = synthetic.make_model(architecture, objective=objective)
    if has_profiles:
        # The prior of a ranking model knows only the trained rows, so the answers follow these.
        generosity = model.user_factors[:-1, 0] if objective == "ranking" else None
        dataset, name = synthetic.with_profiles(dataset, generosity), f"{name}-profiles"
    return export_version(model, dataset, models, name, "1", metrics={}, hyperparameters={})


@pytest.fixture(scope="module")
def every_model(
    tmp_path_factory,
    connect_to,
    versions,
    dot_version,
    net_version,
    hybrid_version,
    profile_version,
    two_part_version,
    two_part_hybrid_version,
):
    """Return the stubs of a server that has every architecture."""
    models = tmp_path_factory.mktemp("every")
    for version in (dot_version, net_version, hybrid_version, two_part_version, two_part_hybrid_version):
        versions.copy(version, models)
    versions.copy(profile_version, models, "dot-profiles")
    for name in ("ranking", "two-part-net"):
        export(models, name, has_profiles=False)
    for name in ("net", "hybrid", "ranking", "two-part", "two-part-net"):
        export(models, name, has_profiles=True)
    with connect_to(models) as api:
        yield api


def user_of(api, model, kind):
    if kind == "known user":
        return User(user_id="u003")
    if kind == "embedding":
        response = api.recommender.EmbedNewUser(EmbedNewUserRequest(model=model, ratings=RATINGS, profile=PROFILE))
        return User(embedding=response.embedding)
    profile = PROFILE if kind == "history with profile" else {}
    return User(history=RatingHistory(ratings=RATINGS, profile=profile))


def assert_ranked(response, *, rates):
    scores = [result.score for result in response.results]
    assert len(scores) == 5
    assert np.all(np.isfinite(scores))
    assert scores == sorted(scores, reverse=True)
    assert [result.HasField("predicted_rating") for result in response.results] == [rates] * 5
    assert all(LOW <= result.predicted_rating <= HIGH for result in response.results if rates)


def predict(api, model, user, *, rates):
    request = PredictRequest(model=model, user=user, item_ids=["i001", "i007"])
    if rates:
        ratings = api.recommender.Predict(request).ratings
        assert all(LOW <= rating <= HIGH for rating in ratings)
        return
    with pytest.raises(grpc.RpcError) as refused:
        api.recommender.Predict(request)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def recommend(api, model, user, *, rates):
    assert_ranked(api.recommender.Recommend(RecommendRequest(model=model, user=user, page_size=5)), rates=rates)


def batch_recommend(api, model, user, *, rates):
    requests = [RecommendRequest(user=user, page_size=5), RecommendRequest(user=User(user_id="u001"), page_size=5)]
    response = api.recommender.BatchRecommend(BatchRecommendRequest(model=model, requests=requests))
    for entry in response.entries:
        assert_ranked(entry.response, rates=rates)


def stream_recommend(api, model, user, *, rates):
    request = RecommendRequest(model=model, user=user, page_size=5)
    for message in api.recommender.StreamRecommend(iter([StreamRecommendRequest(request_id="a", request=request)])):
        assert_ranked(message.response, rates=rates)


def explain(api, model, user, *, rates):
    request = ExplainRequest(model=model, user=user, item_id="i007")
    if user.HasField("embedding"):
        with pytest.raises(grpc.RpcError) as refused:
            api.recommender.Explain(request)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        return
    response = api.recommender.Explain(request)
    assert len(response.contributions) == 5
    assert np.all(np.isfinite([part.contribution for part in response.contributions]))
    parts = response.global_bias + response.user_bias + response.item_bias + response.interaction
    assert response.score == pytest.approx(parts, abs=1e-4)
    assert response.HasField("predicted_rating") == rates
    ranking = response.ranking
    parts = ranking.item_part + ranking.user_part + sum(reason.contribution for reason in ranking.reasons)
    assert response.ranking_score == pytest.approx(parts + ranking.other_part + ranking.unexplained, abs=1e-4)
    assert (ranking.ranking_weight != 0) == model.name.startswith("two-part")


def similar_items(api, model, _user, *, rates):
    response = api.recommender.SimilarItems(SimilarItemsRequest(model=model, item_ids=["i007"], page_size=5))
    assert_ranked(response, rates=False)


def embed_new_user(api, model, user, *, rates):
    history = user.history
    request = EmbedNewUserRequest(model=model, ratings=history.ratings, profile=history.profile)
    response = api.recommender.EmbedNewUser(request)
    assert np.all(np.isfinite(response.embedding.factors))
    assert np.isfinite(response.fit_rmse)
    has_profiles = model.name.endswith("-profiles")
    assert list(response.ignored_profile_keys) == ([] if has_profiles else sorted(history.profile))


def embed_new_item(api, model, _user, *, rates):
    request = EmbedNewItemRequest(
        model=model, item=Item(genres=["Drama"]), ratings=[ItemRating(user_id="u003", rating=4)]
    )
    if model.name.startswith(("net", "hybrid", "two-part-net", "two-part-hybrid")):
        with pytest.raises(grpc.RpcError) as refused:
            api.recommender.EmbedNewItem(request)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        return
    response = api.recommender.EmbedNewItem(request)
    assert np.all(np.isfinite(response.embedding.factors))
    assert (response.fit_rmse > 0) == rates


CALLS = {
    "Predict": predict,
    "Recommend": recommend,
    "BatchRecommend": batch_recommend,
    "StreamRecommend": stream_recommend,
    "Explain": explain,
    "SimilarItems": similar_items,
    "EmbedNewUser": embed_new_user,
    "EmbedNewItem": embed_new_item,
}


def test_the_table_has_every_rpc():
    assert {method.name for method in recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"].methods} == set(
        CALLS
    )


@pytest.mark.parametrize(("name", "kind"), list(itertools.product(MODELS, USERS)))
def test_every_rpc_answers(every_model, name, kind):
    model = ModelRef(name=name)
    user = user_of(every_model, model, kind)
    for call in CALLS.values():
        call(every_model, model, user, rates=not name.startswith("ranking"))


@pytest.mark.parametrize("name", MODELS)
def test_the_versions_have_the_profiles_that_their_names_say(every_model, name):
    description = every_model.catalog.GetModel(catalog_pb2.GetModelRequest(model=ModelRef(name=name))).model
    assert list(description.profile_keys) == (["age", "mood"] if name.endswith("-profiles") else [])
    assert [question.key for question in description.profile_questions] == list(description.profile_keys)
    assert description.objective == ("ranking" if name.startswith("ranking") else "rating")
    base = name.removesuffix("-profiles")
    assert description.architecture == (TWO_PARTS[base] if base in TWO_PARTS else ARCHITECTURES[base][0])
    assert description.has_ranking_part == (base in TWO_PARTS)
