"""Both clients refuse arguments that they would otherwise ignore or misread."""

from __future__ import annotations

import pytest

from cofactor_client import ItemFilter, RatingHistory, UserEmbedding, recommend_request
from tests.support import synthetic

USERS = synthetic.make_dataset().user_ids


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.recommend(USERS[0], diversty=0.9),
        lambda client: next(iter(client.iter_recommendations(USERS[0], diversty=0.9))),
        lambda client: client.batch_recommend(USERS[:2], diversty=0.9),
        lambda client: client.batch_recommend([recommend_request(USERS[0])], diversty=0.9),
        lambda client: next(iter(client.stream_recommend(USERS[:2], diversty=0.9))),
        lambda client: next(iter(client.stream_recommend([recommend_request(USERS[0])], diversty=0.9))),
        lambda client: client.recommend_frame(USERS[:2], diversty=0.9),
        lambda _: recommend_request(USERS[0], diversty=0.9),
    ],
)
def test_an_unknown_keyword_argument_is_a_type_error_that_suggests_the_right_one(client, call) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'diversty'; did you mean 'diversity'"):
        call(client)


@pytest.mark.parametrize("name", ["candidate_item_ids", "excluded_item_ids", "any_genres", "excluded_genres"])
def test_a_string_in_place_of_a_list_is_refused_by_a_filter(name) -> None:
    with pytest.raises(TypeError, match=rf"{name}: must be a list of strings, not one string; write \['Comedy'\]"):
        ItemFilter(**{name: "Comedy"})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda client: client.predict(USERS[0], "i001"), "item_ids: must be a list"),
        (lambda client: client.predict_pairs("u01", ["i001"]), "user_ids: must be a list"),
        (lambda client: client.predict_arrays("u01", ["i001"]), "must be a column of ids"),
        (lambda client: client.batch_recommend(USERS[0]), "users: must be a list of users"),
        (lambda client: client.batch_recommend({"i001": 5.0}), "users: must be a list of users"),
        (lambda client: client.batch_recommend(RatingHistory({"i001": 5.0})), "users: must be a list of users"),
        (lambda client: next(iter(client.stream_recommend(USERS[0]))), "users: must be a list of users"),
        (lambda client: client.recommend_frame(USERS[0]), "must be a column of ids"),
        (lambda client: client.recommend(USERS[0], filter={"any_genres": ["Comedy"]}), "filter: must be an ItemFilter"),
        (lambda client: client.similar_items("i001", filter="Comedy"), "filter: must be an ItemFilter"),
        (lambda client: client.embed_new_user([("i001", 5.0)]), "ratings: must be a mapping"),
        (lambda _: UserEmbedding((0.0,), 0.0, "space", "i001"), "rated_item_ids: must be a list"),
    ],
)
def test_one_value_in_place_of_a_list_or_mapping_is_a_type_error(client, call, message) -> None:
    with pytest.raises(TypeError, match=message):
        call(client)
