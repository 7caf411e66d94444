"""EmbedNewItem on a real server: the row is that of numpy, and a version without the graph says so."""

from __future__ import annotations

from dataclasses import replace

import grpc
import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest, SearchItemsRequest
from cofactor.v1.model_pb2 import AttributeValue, Item, ModelRef
from cofactor.v1.recommender_pb2 import (
    EmbedNewItemRequest,
    ItemEvent,
    ItemFilter,
    ItemRating,
    PredictRequest,
    RecommendRequest,
    SimilarItemsRequest,
    User,
)
from cofactor_trainer.data.attribute_columns.features import item_frame
from cofactor_trainer.data.profile_regression import encode_profiles
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.graphs.new_items.priors import estimate_item_priors
from tests.support.calls import details_of
from tests.support.new_items.reference import UNRATED, draws_of_ratings, make_taste_model, ranking_row, rating_row
from tests.support.synthetic import make_model, make_two_part_model

DRAMA = Item(item_id="new", title="New", genres=["Drama"], release_year=1994)
RATINGS = [ItemRating(user_id=f"u{row:03}", rating=rating) for row, rating in ((3, 5.0), (7, 1.5), (19, 4.0))]
USER_ROWS, VALUES = np.array([3, 7, 19]), np.array([5.0, 1.5, 4.0])


MAKERS = {
    "rating": make_model,
    "both": make_two_part_model,
    "ranker": lambda: make_model(objective="ranking", rating_range=None),
}


@pytest.fixture(scope="module")
def versions_by_name(tmp_path_factory):
    """Return model, data set and folder of a version of every kind."""
    models = tmp_path_factory.mktemp("new-items")
    found = {}
    for name, make in MAKERS.items():
        found[name] = made = make_taste_model(make)
        export_version(made.model, made.dataset, models, name, "1", metrics={}, hyperparameters={})
    made = found["both"]
    with_unrated = replace(made.dataset, unrated=UNRATED)
    export_version(made.model, with_unrated, models, "unrated", "1", metrics={}, hyperparameters={})
    return models, found


@pytest.fixture(scope="module")
def served(versions_by_name, dot_version, versions, connect_to):
    """Return the stubs of a server with these versions and one without the graph."""
    models, _ = versions_by_name
    versions.drop_graph(versions.copy(dot_version, models, "old"), "embed_item")
    with connect_to(models) as connection:
        yield connection


def embed(served, name, **fields):
    return served.recommender.EmbedNewItem(EmbedNewItemRequest(model=ModelRef(name=name), **fields))


def refused(served, name, **fields):
    with pytest.raises(grpc.RpcError) as error:
        embed(served, name, **fields)
    return error.value


def expected_row(made, item, user_rows, values):
    """Return factors and bias of the tables item_factors and item_bias, by numpy."""
    model, dataset = made.model, made.dataset
    priors = estimate_item_priors(model, dataset)
    frame = item_frame(dataset.catalogue).iloc[:1].copy()
    frame.at[0, "genres"], frame.at[0, "release_year"] = tuple(item.genres) or None, item.release_year or np.nan
    columns = encode_profiles(priors.features, frame)[0]
    rating = None
    if model.objective == "rating":
        rating = rating_row(model, priors.rating, user_rows, values, columns)
        if not model.n_ranking_factors:
            return rating[:-1], rating[-1]
    draws = draws_of_ratings(values, dataset.rating_min, dataset.rating_max)
    ranking = ranking_row(model, priors, user_rows, draws, columns, rating)
    if rating is None:
        return ranking[:-1], ranking[-1]
    return np.concatenate([rating[:-1], ranking]), rating[-1]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("n_ratings", [0, 3])
def test_the_row_is_that_of_numpy(served, versions_by_name, name, n_ratings):
    made = versions_by_name[1][name]
    response = embed(served, name, item=DRAMA, ratings=RATINGS[:n_ratings])
    factors, bias = expected_row(made, DRAMA, USER_ROWS[:n_ratings], VALUES[:n_ratings])
    np.testing.assert_allclose(response.embedding.factors, factors, atol=2e-3)
    assert response.embedding.bias == pytest.approx(bias, abs=2e-3)
    assert len(response.embedding.factors) == made.model.item_factors.shape[1]
    assert (response.used_rating_count, response.embedding.rating_count) == (n_ratings, n_ratings)
    described = served.catalog.GetModel(GetModelRequest(model=ModelRef(name=name))).model
    assert response.embedding.embedding_space == described.embedding_space
    assert described.supports_new_items


def test_attributes_and_ratings_move_the_row(served, versions_by_name):
    model = versions_by_name[1]["both"].model
    genres = [embed(served, "both", item=Item(genres=[genre])).embedding for genre in ("Action", "Drama")]
    own = [
        model.item_factors[:-1][[genre in names for names in versions_by_name[1]["both"].dataset.catalogue.genres]]
        for genre in ("Action", "Drama")
    ]
    # Each row is nearer to the mean of the items of its genre than to that of the other genre.
    for place, embedding in enumerate(genres):
        distances = [np.linalg.norm(np.array(embedding.factors) - rows.mean(0)) for rows in own]
        assert np.argmin(distances) == place
    low, high = (
        embed(served, "both", ratings=[ItemRating(user_id="u004", rating=rating)]).embedding.bias
        for rating in (0.5, 5.0)
    )
    assert low < high


def test_what_the_model_does_not_know_is_ignored_and_listed(served):
    item = Item(genres=["Nothing"], attributes={"brand": AttributeValue(text="Acme")})
    response = embed(
        served,
        "both",
        item=item,
        ratings=[*RATINGS[:1], ItemRating(user_id="nobody", rating=3)],
        skip_unknown_users=True,
    )
    assert list(response.ignored_attributes) == ["brand", "genres"]
    assert list(response.missing_user_ids) == ["nobody"]
    assert response.embedding == embed(served, "both", ratings=RATINGS[:1]).embedding
    # Other fields of the item are no evidence.
    renamed = embed(
        served, "both", item=Item(item_id="i001", title="Drama", rating_count=5, bias=3), ratings=RATINGS[:1]
    )
    assert renamed.embedding == response.embedding


def test_the_fit_is_the_error_of_the_predictions(served, versions_by_name):
    model = versions_by_name[1]["rating"].model
    response = embed(served, "rating", ratings=RATINGS)
    logits = model.user_factors[USER_ROWS] @ np.array(response.embedding.factors) + response.embedding.bias
    ratings = 0.5 + 5 / (1 + np.exp(-(logits + model.user_bias[USER_ROWS] + model.global_bias)))
    error = np.sqrt(np.mean((ratings.clip(0.5, 5) - VALUES) ** 2))
    assert response.fit_rmse == pytest.approx(error, abs=1e-3)
    assert embed(served, "rating").fit_rmse == 0
    assert embed(served, "ranker", ratings=RATINGS).fit_rmse == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ratings": [ItemRating(rating=3)]}, "ratings[0].user_id"),
        ({"ratings": [ItemRating(user_id="u001", rating=9)]}, "ratings[0].rating"),
        ({"ratings": [RATINGS[0], ItemRating(user_id="u003", rating=1)]}, "ratings[1].rating"),
        ({"events": [ItemEvent(user_id="u001")]}, "events"),
        ({"item": Item(release_year=-5)}, "item.release_year"),
    ],
)
def test_bad_fields_are_named(served, fields, field):
    error = refused(served, "both", **fields)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(f"{field}:")


def test_an_unknown_user_is_not_found(served):
    error = refused(served, "both", ratings=[ItemRating(user_id="nobody", rating=3)])
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "ratings[0].user_id" in error.details()
    assert "skip_unknown_users" in error.details()


def test_a_version_without_the_graph_loads_and_answers_unimplemented(served):
    error = refused(served, "old", item=DRAMA)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert details_of(error)["ErrorInfo"].reason == "NEW_ITEMS_UNSUPPORTED"
    assert not served.catalog.GetModel(GetModelRequest(model=ModelRef(name="old"))).model.supports_new_items


def test_items_without_ratings_are_in_every_response(served, versions_by_name):
    model = ModelRef(name="unrated")
    n_rated = versions_by_name[1]["both"].dataset.n_items
    user = User(user_id="u039")  # who rated nothing
    assert served.catalog.GetModel(GetModelRequest(model=model)).model.item_count == n_rated + len(UNRATED.item_ids)
    found = served.catalog.SearchItems(SearchItemsRequest(model=model, query="unseen")).items
    assert [(item.item_id, item.rating_count, list(item.genres)) for item in found] == [
        (item_id, 0, list(genres)) for item_id, genres in zip(UNRATED.item_ids, UNRATED.genres, strict=True)
    ]
    everything = served.recommender.Recommend(RecommendRequest(model=model, user=user, page_size=1000)).results
    assert len({result.item_id for result in everything}) == n_rated + len(UNRATED.item_ids)
    chosen = RecommendRequest(model=model, user=user, filter=ItemFilter(min_release_year=2030))
    assert {result.item_id for result in served.recommender.Recommend(chosen).results} == set(UNRATED.item_ids)
    similar = SimilarItemsRequest(model=model, item_ids=UNRATED.item_ids[:1], page_size=5, return_items=True)
    for result in served.recommender.SimilarItems(similar).results:
        assert "Drama" in result.item.genres
    ratings = served.recommender.Predict(PredictRequest(model=model, user=user, item_ids=UNRATED.item_ids)).ratings
    assert np.all(np.isfinite(ratings))
