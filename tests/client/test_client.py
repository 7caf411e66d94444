"""Every method of both clients, on a real server of synthetic models whose results the tests compute themselves."""

import itertools
import math
from datetime import UTC, datetime

import numpy as np
import pytest

from cofactor_client import (
    Client,
    EntryError,
    ItemFilter,
    ModelRef,
    RatingHistory,
    UserEmbedding,
    errors,
    recommend_request,
)
from tests.support import synthetic
from tests.support.expected import COUNTS, item_effects_of

MODEL = synthetic.make_model("dot-product")
DATASET = synthetic.make_dataset()
USERS, ITEMS = DATASET.user_ids, DATASET.catalogue.item_ids


def expected_rating(user_row, item_row):
    logit = (
        MODEL.user_factors[user_row] @ MODEL.item_factors[item_row]
        + MODEL.user_bias[user_row]
        + MODEL.item_bias[item_row]
        + MODEL.global_bias
    )
    low, high = MODEL.rating_range
    return low + (high - low) / (1 + math.exp(-logit))


def rated_by(user_row):
    return {ITEMS[row] for row in DATASET.item_rows[DATASET.user_rows == user_row]}


def test_predict_gives_the_models_ratings_in_the_order_of_the_items(client):
    predictions = client.predict(USERS[3], [ITEMS[7], ITEMS[2]])
    assert list(predictions) == pytest.approx([expected_rating(3, 7), expected_rating(3, 2)], abs=1e-5)
    assert (predictions.model.name, predictions.model.version) == ("dot", "1")
    assert (len(predictions), predictions.errors) == (2, ())


def test_predict_pairs_uses_the_user_of_each_pair(client):
    predictions = client.predict_pairs([USERS[1], USERS[2]], [ITEMS[5], ITEMS[6]])
    assert list(predictions) == pytest.approx([expected_rating(1, 5), expected_rating(2, 6)], abs=1e-5)


def test_partial_success_gives_nan_and_an_error_for_an_unknown_item(client):
    predictions = client.predict(USERS[0], [ITEMS[0], "nothing"], allow_partial_success=True)
    assert not math.isnan(predictions.ratings[0])
    assert math.isnan(predictions.ratings[1])
    assert [(error.index, error.reason) for error in predictions.errors] == [(1, "ITEM_NOT_FOUND")]


def test_recommend_leaves_out_rated_items_and_gives_titles(client):
    page = client.recommend(USERS[4], k=20)
    assert len(page) == 20
    assert not rated_by(4) & {scored.item_id for scored in page}
    scores = [scored.score for scored in page]
    assert scores == sorted(scores, reverse=True)
    first = page.results[0]
    assert first.title == f"The Film of {ITEMS.index(first.item_id)}"
    assert first.predicted_rating == pytest.approx(expected_rating(4, ITEMS.index(first.item_id)), abs=1e-5)
    assert page.recommendation_id
    assert not page.is_fallback


def test_an_expression_filters_and_items_have_attributes(client):
    expression = 'brand in ["Acme", "Bolt"] AND price < 10 AND NOT tags:"new"'
    page = client.recommend("u004", 50, filter=ItemFilter(expression=expression), include_rated=True)
    rows = [int(scored.item_id[1:]) for scored in page]
    values = [synthetic.attribute_values(row) for row in range(synthetic.N_ITEMS)]
    assert set(rows) == {
        row
        for row, value in enumerate(values)
        if value["brand"] in ("Acme", "Bolt") and (value["price"] or 99) < 10 and "new" not in (value["tags"] or ())
    }
    for scored, row in zip(page, rows, strict=True):
        assert scored.item.attributes == {name: value for name, value in values[row].items() if value is not None}
        assert hash(scored.item)


def test_a_wrong_expression_says_where_and_what_was_meant(client):
    with pytest.raises(errors.InvalidArgumentError, match=r"at character 1, .* did you mean price") as error:
        client.recommend("u004", filter=ItemFilter(expression="prize < 5"))
    assert error.value.details.reason == "INVALID_FILTER_EXPRESSION"
    assert error.value.details.metadata == {"position": "1", "suggestion": "price"}


def test_the_model_lists_its_attributes(client):
    attributes = {attribute.name: attribute for attribute in client.get_model().model.attributes}
    price, brand, added = attributes["price"], attributes["brand"], attributes["added"]
    assert (price.type, price.built_in, price.lowest, price.highest) == ("number", False, 0.25, 29.75)
    assert (brand.type, brand.distinct_count, set(brand.examples)) == ("text", 3, {"Acme", "Bolt", "Cog"})
    assert added.lowest == datetime(2024, 1, 2, 0, 0, 0, 1, tzinfo=UTC)
    assert attributes["genres"].built_in


def test_without_return_items_the_title_is_the_id(client):
    first = client.recommend(USERS[4], k=1, return_items=False).results[0]
    assert first.item is None
    assert first.title == first.item_id


def test_options_reach_the_server(client):
    page = client.recommend(
        USERS[4],
        k=50,
        ranking="predicted-rating",
        include_rated=True,
        min_predicted_rating=3.0,
        filter=ItemFilter(any_genres=("Comedy",), excluded_genres=("Drama",), min_release_year=1970),
    )
    assert page.results
    for scored in page:
        assert "Comedy" in scored.item.genres
        assert "Drama" not in scored.item.genres
        assert scored.item.release_year >= 1970
        assert scored.predicted_rating >= 3.0
    ratings = [scored.predicted_rating for scored in page]
    assert ratings == sorted(ratings, reverse=True)


def test_unknown_candidates_are_listed(client):
    page = client.recommend(USERS[4], filter=ItemFilter(candidate_item_ids=(ITEMS[1], "nothing")), include_rated=True)
    assert [scored.item_id for scored in page] == [ITEMS[1]]
    assert page.missing_item_ids == ("nothing",)


def test_an_unknown_user_raises_or_gets_popular_items(client):
    with pytest.raises(errors.UserNotFoundError, match="nobody") as raised:
        client.recommend("nobody")
    assert raised.value.request_id
    assert client.recommend("nobody", unknown_user="popular").is_fallback


def test_pages_continue_the_list_without_gaps_or_repeats(client):
    whole = [scored.item_id for scored in client.recommend(USERS[4], k=30)]
    paged = list(itertools.islice(client.iter_recommendations(USERS[4], page_size=7), 30))
    assert [scored.item_id for scored in paged] == whole


def test_iterating_covers_the_whole_catalogue(client):
    everything = [scored.item_id for scored in client.iter_recommendations(USERS[4], page_size=50, include_rated=True)]
    assert sorted(everything) == list(ITEMS)


def test_similar_items_are_ranked_by_cosine_similarity(client):
    vectors = MODEL.item_factors[:-1] / np.linalg.norm(MODEL.item_factors[:-1], axis=1, keepdims=True)
    cosines = vectors @ vectors[8]
    best = [ITEMS[row] for row in np.argsort(-cosines) if row != 8][:5]
    page = client.similar_items(ITEMS[8], k=5)
    assert [scored.item_id for scored in page] == best
    assert page.results[0].score == pytest.approx(np.sort(cosines)[-2], abs=1e-5)
    assert page.results[0].predicted_rating is None
    assert ITEMS[9] not in {scored.item_id for scored in client.similar_items([ITEMS[8], ITEMS[9]], k=50)}
    paged = itertools.islice(client.iter_similar_items([ITEMS[8]], page_size=2), 5)
    assert [scored.item_id for scored in paged] == best


def test_an_embedded_user_works_like_any_other_user(client):
    ratings = {ITEMS[1]: 5.0, ITEMS[2]: 0.5, ITEMS[3]: 4.0}
    newcomer = client.embed_new_user(ratings, profile={"age": "24"})
    assert newcomer.used_rating_count == 3
    assert newcomer.ignored_profile_keys == ("age",)
    assert set(newcomer.embedding.rated_item_ids) == set(ratings)
    liked, disliked = client.predict(newcomer.embedding, [ITEMS[1], ITEMS[2]])
    assert liked > disliked
    assert not set(ratings) & {scored.item_id for scored in client.recommend(newcomer.embedding, k=100)}
    for history in (RatingHistory(ratings), ratings):
        assert list(client.predict(history, [ITEMS[1], ITEMS[2]])) == pytest.approx([liked, disliked], abs=1e-5)


def test_an_embedding_survives_serialisation(client):
    embedding = client.embed_new_user({ITEMS[1]: 5.0}).embedding
    stored = UserEmbedding.from_bytes(embedding.to_bytes())
    assert stored == embedding
    assert client.predict(stored, [ITEMS[0]]).ratings == client.predict(embedding, [ITEMS[0]]).ratings


def test_an_embedding_of_another_model_is_refused(client):
    embedding = client.embed_new_user({ITEMS[1]: 5.0}).embedding
    with pytest.raises(errors.EmbeddingSpaceMismatchError):
        client.recommend(embedding, model="net")


def test_embed_new_user_refuses_or_skips_unknown_items(client):
    with pytest.raises(errors.ItemNotFoundError):
        client.embed_new_user({ITEMS[1]: 5.0, "nothing": 3.0})
    newcomer = client.embed_new_user({ITEMS[1]: 5.0, "nothing": 3.0}, skip_unknown_items=True)
    assert (newcomer.used_rating_count, newcomer.missing_item_ids) == (1, ("nothing",))
    with pytest.raises(errors.NoKnownItemsError):
        client.embed_new_user({"nothing": 3.0}, skip_unknown_items=True)


def test_an_entry_of_a_batch_fails_alone(client):
    results = client.batch_recommend([USERS[0], "nobody", recommend_request(USERS[1], 2)], k=4)
    assert [len(results[0]), len(results[2])] == [4, 2]
    assert isinstance(results[1], EntryError)
    assert (results[1].index, results[1].reason) == (1, "USER_NOT_FOUND")
    assert [s.item_id for s in results[0]] == [s.item_id for s in client.recommend(USERS[0], k=4)]
    assert results[0].model.name == "dot"


def test_a_stream_continues_after_a_failed_entry(client):
    users = [*USERS, "nobody", recommend_request(USERS[1], 2)]
    results = dict(client.stream_recommend(iter(users), k=3))
    assert sorted(results) == list(range(len(users)))
    assert results[len(USERS)].reason == "USER_NOT_FOUND"
    assert len(results[len(USERS) + 1]) == 2
    assert [s.item_id for s in results[5]] == [s.item_id for s in client.recommend(USERS[5], k=3)]


def test_an_explanation_adds_up(client):
    why = client.explain(USERS[4], ITEMS[50], max_contributions=4)
    assert why.global_bias + why.user_bias + why.item_bias + why.interaction == pytest.approx(why.score, abs=1e-4)
    assert why.predicted_rating == pytest.approx(expected_rating(4, 50), abs=1e-4)
    assert {part.item_id for part in why.contributions} <= rated_by(4)
    assert len(why.contributions) == 4
    assert sum(part.contribution for part in why.contributions) + why.remainder == pytest.approx(
        why.interaction, abs=1e-4
    )


def test_search_finds_titles(client):
    found = client.search_items("film 17")
    assert found.items[0].title == "The Film of 17"
    assert found.items[0].item_id == ITEMS[17]
    assert len(list(client.iter_search_items("film", page_size=50))) == len(ITEMS)


def test_top_items_follow_the_given_order(client):
    biases = [item.bias for item in client.top_items("highest-bias", k=10)]
    assert biases == sorted(biases, reverse=True)
    ranked = item_effects_of("dot")[np.sort(COUNTS)[-100] <= COUNTS]
    assert biases[0] == pytest.approx(ranked.max(), abs=1e-5)
    lowest = client.top_items("lowest-bias", k=1).items[0]
    assert lowest.bias == pytest.approx(ranked.min(), abs=1e-5)
    counts = [item.rating_count for item in client.iter_top_items("most-rated", page_size=50)]
    assert counts == sorted(DATASET.item_rating_counts().tolist(), reverse=True)


def test_models_are_described_and_listed(client):
    description = client.get_model()
    model = description.model
    assert (model.name, model.state, model.architecture) == ("dot", "ready", "dot-product")
    assert (model.user_count, model.item_count, model.factor_count) == (len(USERS), len(ITEMS), 8)
    assert (model.rating_min, model.rating_max) == (0.5, 5.0)
    assert model.metrics == {"mse": 0.8}
    assert model.metrics_protocol == "measured on random numbers"
    assert model.train_time <= model.load_time
    assert description.limits.max_items_per_request == 500
    assert client.get_model(model="net").model.architecture == "neural-network"
    names = [(model.name, model.version) for model in client.iter_models(page_size=1)]
    assert names == [("dot", "1"), ("net", "1")]
    assert len(client.list_models()) == 2


def test_a_model_is_set_for_a_call_or_for_the_client(client, address):
    assert client.recommend(USERS[0], model="net").model.name == "net"
    assert client.recommend(USERS[0], model=ModelRef("net", version="1")).model.name == "net"
    with Client(address, model="net") as other:
        assert other.predict(USERS[0], [ITEMS[0]]).model.name == "net"
        assert other.predict(USERS[0], [ITEMS[0]], model="dot").model.name == "dot"
    with pytest.raises(errors.ModelNotFoundError):
        client.get_model(model="no-such-model")


def test_a_wrong_request_names_the_field(client):
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.recommend(USERS[0], k=-1)
    assert [violation.field for violation in raised.value.field_violations] == ["page_size"]
    assert raised.value.reason == "INVALID_FIELD"


def test_arguments_of_the_wrong_type_are_refused_by_name(client):
    with pytest.raises(TypeError, match="user: must be an id as a string"):
        client.recommend(12)
    with pytest.raises(TypeError, match="item_ids: must be a list of ids, not one string"):
        client.predict(USERS[0], "i000")
    with pytest.raises(ValueError, match="ranking: must be one of"):
        client.recommend(USERS[0], ranking="best")


def test_calls_succeed_after_wait_until_ready(client):
    client.wait_until_ready(5)
    assert client.get_model(timeout=1).model.name == "dot"
