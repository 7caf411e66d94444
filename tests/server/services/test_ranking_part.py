"""A version with a ranking part: known and new users have their own orders, and every path scores alike."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest, ListTopItemsRequest
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewUserRequest,
    ExplainRequest,
    ItemFilter,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    SimilarItemsRequest,
    User,
)
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_trainer.scoring.trained_model import Order
from tests.support import synthetic
from tests.support.expected import COUNTS, ITEM_IDS, KNOWN, USER, item_effects_of, logits_of, ratings_of

NAMES = {"two-part": "dot", "two-part-hybrid": "hybrid"}
BEST, CORRECTED, BY_RATING = range(3)
HISTORY = RatingHistory(ratings=[Rating(item_id=f"i{row:03}", rating=1 + row % 5) for row in range(0, 60, 5)])
NEW = User(history=HISTORY)
LOG_COUNTS = np.log1p(COUNTS)


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory, connect_to, versions, two_part_version, two_part_hybrid_version):
    """Return the stubs of a server with a dot product and a hybrid that have a ranking part."""
    models = tmp_path_factory.mktemp("two-parts")
    for version in (two_part_version, two_part_hybrid_version):
        versions.copy(version, models)
    with connect_to(models, model="two-part") as api:
        yield api


@pytest.fixture(params=list(NAMES))
def part_name(request):
    """Return the name of a version with a ranking part."""
    return request.param


def model_of(name):
    return synthetic.make_two_part_model("dot-product" if name == "two-part" else "hybrid")


def ranking_logits(name, factors=None):
    """Return the ranking logits (n_items,) of the known user, or of whole factors (d,)."""
    model = model_of(name)
    factors = model.user_factors[USER] if factors is None else factors
    n = model.n_ranking_factors
    return model.item_factors[:-1, -n:] @ factors[-n:]


def scores_of(name, order, penalty_slope=0.0):
    popularity = order.popularity_weight - penalty_slope
    logits = order.rating_weight * logits_of(NAMES[name]) + order.ranking_weight * ranking_logits(name)
    return logits + popularity * LOG_COUNTS


def recommend(api, name, user=KNOWN, **fields):
    request = RecommendRequest(model=ModelRef(name=name), user=user, include_rated=True, page_size=200, **fields)
    return api.recommender.Recommend(request)


def score_by_id(response):
    return {result.item_id: result.score for result in response.results}


def assert_scores(response, expected):
    found = [score_by_id(response)[item_id] for item_id in ITEM_IDS]
    np.testing.assert_allclose(found, expected, atol=2e-4)
    listed = [result.score for result in response.results]
    assert listed == sorted(listed, reverse=True)


def embed(api, name):
    return api.recommender.EmbedNewUser(
        EmbedNewUserRequest(model=ModelRef(name=name), ratings=HISTORY.ratings)
    ).embedding


def test_a_known_user_gets_the_default_order_and_plain_predictions(two_parts, part_name):
    response = recommend(two_parts, part_name)
    assert_scores(response, scores_of(part_name, model_of(part_name).order))
    ratings = {result.item_id: result.predicted_rating for result in response.results}
    expected = ratings_of(logits_of(NAMES[part_name]))
    np.testing.assert_allclose([ratings[item_id] for item_id in ITEM_IDS], expected, atol=1e-4)


@pytest.mark.parametrize(("ranking", "popularity_weight"), [(BY_RATING, 0.0), (CORRECTED, 1.0)])
def test_the_orders_by_name_ignore_the_ranking_part(two_parts, part_name, ranking, popularity_weight):
    order = Order(1.0, 0.0, popularity_weight)
    assert_scores(recommend(two_parts, part_name, ranking=ranking), scores_of(part_name, order))


def test_new_users_have_an_order_of_their_own_however_they_are_sent(two_parts, part_name):
    embedding = embed(two_parts, part_name)
    factors = np.array(embedding.factors, dtype=np.float32)
    by_rating = recommend(two_parts, part_name, User(embedding=embedding), ranking=BY_RATING)
    logits = np.array([score_by_id(by_rating)[item_id] for item_id in ITEM_IDS])
    order = model_of(part_name).new_user_order
    expected = order.rating_weight * logits + order.ranking_weight * ranking_logits(part_name, factors)
    expected += order.popularity_weight * LOG_COUNTS
    for user in (User(embedding=embedding), NEW):
        assert_scores(recommend(two_parts, part_name, user), expected)


def test_the_average_user_is_a_new_user(two_parts):
    unknown = recommend(two_parts, "two-part", User(user_id="nobody"), unknown_user_policy=2)
    model = model_of("two-part")
    order = model.new_user_order
    expected = order.ranking_weight * ranking_logits("two-part", model.user_factors[-1])
    expected += order.rating_weight * logits_of("dot", -1) + order.popularity_weight * LOG_COUNTS
    assert unknown.is_fallback
    assert_scores(unknown, expected)


@pytest.mark.parametrize("user", [KNOWN, NEW], ids=["known", "new"])
@pytest.mark.parametrize("ranking", [BEST, CORRECTED, BY_RATING])
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_list_of_candidates_has_the_scores_of_the_graph(two_parts, part_name, user, ranking, penalty):
    fields = {"ranking": ranking, "popularity_penalty": penalty}
    whole = recommend(two_parts, part_name, user, **fields)
    listed = recommend(two_parts, part_name, user, filter=ItemFilter(candidate_item_ids=ITEM_IDS), **fields)
    expected, found = score_by_id(whole), score_by_id(listed)
    scale = max(map(abs, expected.values()))
    for item_id in ITEM_IDS:
        assert found[item_id] == pytest.approx(expected[item_id], abs=4e-7 * 8 * scale)


def test_a_minimum_rating_keeps_the_order_by_both_parts(two_parts, part_name):
    whole = recommend(two_parts, part_name)
    good = [result.item_id for result in whole.results if result.predicted_rating >= 3.5]
    found = recommend(two_parts, part_name, min_predicted_rating=3.5)
    assert 0 < len(good) < len(ITEM_IDS)
    assert [result.item_id for result in found.results] == good


def test_a_penalty_of_one_takes_off_what_popularity_adds_for_the_average_user(two_parts, two_part_version):
    manifest = open_version_directory(two_part_version).manifest
    order = model_of("two-part").order
    slope = order.rating_weight * manifest.rating_popularity_slope + order.popularity_weight
    slope = max(0.05, slope + order.ranking_weight * manifest.ranking_popularity_slope)
    for penalty in (1.0, 2.5):
        response = recommend(two_parts, "two-part", popularity_penalty=penalty)
        assert_scores(response, scores_of("two-part", order, penalty * slope))


def test_users_of_different_orders_share_a_batch(two_parts, part_name):
    users = [KNOWN, NEW, User(user_id="u007"), User(embedding=embed(two_parts, part_name))]
    requests = [
        RecommendRequest(user=user, page_size=200, include_rated=True, ranking=ranking)
        for user in users
        for ranking in (BEST, CORRECTED, BY_RATING)
    ]
    batch = BatchRecommendRequest(model=ModelRef(name=part_name), requests=requests)
    entries = two_parts.recommender.BatchRecommend(batch).entries
    for request, entry in zip(requests, entries, strict=True):
        alone = score_by_id(recommend(two_parts, part_name, request.user, ranking=request.ranking))
        assert score_by_id(entry.response) == pytest.approx(alone, abs=1e-5)


def test_similar_items_and_diversity_compare_all_columns_but_the_bias(two_parts):
    vectors = model_of("two-part").item_factors[:-1, :-1]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    request = SimilarItemsRequest(model=ModelRef(name="two-part"), item_ids=["i007"], page_size=1)
    nearest = two_parts.recommender.SimilarItems(request).results[0]
    cosines = vectors @ vectors[7]
    cosines[7] = -1
    assert nearest.item_id == ITEM_IDS[int(np.argmax(cosines))]
    first, second = recommend(two_parts, "two-part", diversity=1).results[:2]
    assert second.item_id == ITEM_IDS[int(np.argmin(vectors @ vectors[ITEM_IDS.index(first.item_id)]))]


def test_predict_ignores_the_ranking_part(two_parts, part_name):
    request = PredictRequest(model=ModelRef(name=part_name), user=KNOWN, item_ids=ITEM_IDS)
    expected = ratings_of(logits_of(NAMES[part_name]))
    np.testing.assert_allclose(two_parts.recommender.Predict(request).ratings, expected, atol=1e-4)


def test_a_version_says_that_it_has_a_ranking_part(two_parts, api):
    model = two_parts.catalog.GetModel(GetModelRequest()).model
    assert (model.has_ranking_part, model.objective) == (True, "rating")
    assert not api.catalog.GetModel(GetModelRequest()).model.has_ranking_part


@pytest.mark.parametrize("user", [KNOWN, NEW], ids=["known", "new"])
@pytest.mark.parametrize("ranking", [BEST, CORRECTED, BY_RATING])
@pytest.mark.parametrize("max_contributions", [1, 5, 1000])
def test_the_parts_of_an_explanation_add_up_to_the_score_of_the_list(
    two_parts, part_name, user, ranking, max_contributions
):
    fields = {"ranking": ranking, "popularity_penalty": 0.5}
    request = ExplainRequest(
        model=ModelRef(name=part_name), user=user, item_id="i007", max_contributions=max_contributions, **fields
    )
    response = two_parts.recommender.Explain(request)
    parts = response.ranking
    assert response.ranking_score == pytest.approx(
        score_by_id(recommend(two_parts, part_name, user, **fields))["i007"], abs=1e-4
    )
    reasons = sum(reason.contribution for reason in parts.reasons)
    total = parts.item_part + parts.user_part + reasons + parts.other_part + parts.unexplained
    assert response.ranking_score == pytest.approx(total, abs=1e-4)
    weighted = parts.rating_weight * response.score + parts.ranking_weight * parts.ranking_logit
    assert response.ranking_score == pytest.approx(weighted + response.popularity, abs=1e-4)
    counted = sum(1 + reason.similar_rating_count for reason in parts.reasons) + parts.other_rating_count
    assert (counted, len(parts.reasons) <= max_contributions) == (12, True)
    sizes = [abs(reason.contribution) for reason in parts.reasons]
    assert sizes == sorted(sizes, reverse=True)
    prediction = response.global_bias + response.user_bias + response.item_bias + response.interaction
    assert response.score == pytest.approx(prediction, abs=1e-4)


def test_the_part_of_an_item_is_the_same_for_all_users_without_answers(two_parts):
    parts = []
    for user_id in ("u003", "u007"):
        request = ExplainRequest(model=ModelRef(name="two-part"), user=User(user_id=user_id), item_id="i007")
        parts.append(two_parts.recommender.Explain(request).ranking)
    assert parts[0].item_part == pytest.approx(parts[1].item_part, abs=1e-5)
    assert parts[0].user_part != parts[1].user_part


def test_the_ratings_of_a_new_user_explain_the_ranking_logit_exactly(two_parts):
    """Without the rating part, which Gauss-Newton steps only approach, nothing is left."""
    request = ExplainRequest(model=ModelRef(name="two-part"), user=NEW, item_id="i007")
    parts = two_parts.recommender.Explain(request).ranking
    reasons = sum(reason.contribution for reason in parts.reasons)
    assert abs(parts.unexplained) < 0.01 < abs(reasons + parts.other_part)


def test_a_reason_moves_with_its_rating(two_parts):
    """Raise one rating from the lowest to the highest: its contribution grows with the score."""
    scores, shares = [], []
    for rating in (0.5, 5.0):
        ratings = [Rating(item_id="i033", rating=rating), *HISTORY.ratings]
        request = ExplainRequest(
            model=ModelRef(name="two-part"),
            user=User(history=RatingHistory(ratings=ratings)),
            item_id="i007",
            max_contributions=1000,
        )
        response = two_parts.recommender.Explain(request)
        scores.append(response.ranking_score - response.ranking.user_part)
        shares += [r.own_contribution for r in response.ranking.reasons if r.item_id == "i033"]
    if len(shares) == 2:
        assert np.sign(shares[1] - shares[0]) == np.sign(scores[1] - scores[0]) != 0


@pytest.mark.parametrize("user", [KNOWN, NEW], ids=["known", "new"])
def test_the_bias_of_an_item_agrees_everywhere_and_is_that_of_the_ratings(two_parts, part_name, user):
    expected = item_effects_of(NAMES[part_name])
    listed = two_parts.catalog.ListTopItems(ListTopItemsRequest(model=ModelRef(name=part_name), page_size=200)).items
    assert {item.item_id: item.bias for item in listed} == pytest.approx(
        dict(zip(ITEM_IDS, expected, strict=True)), abs=1e-4
    )
    explained = two_parts.recommender.Explain(ExplainRequest(model=ModelRef(name=part_name), user=user, item_id="i007"))
    assert explained.item_bias == pytest.approx(expected[7], abs=1e-4)


def test_the_open_inference_protocol_has_the_same_order(two_part_version, serve):
    triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    api = serve(two_part_version.parents[1], model="two-part", oip=True)
    with triton.InferenceServerClient(f"127.0.0.1:{api.server.port}") as client:
        user = triton.InferInput("user_id", [1], "BYTES")
        user.set_data_from_numpy(np.array([b"u003"], dtype=np.object_))
        found = client.infer("two-part.recommend", [user]).as_numpy("item_id")[0]
    expected = api.recommender.Recommend(RecommendRequest(user=KNOWN)).results
    assert [item_id.decode() for item_id in found] == [result.item_id for result in expected]


def test_an_embedding_has_one_number_for_every_factor_of_both_parts(two_parts, part_name):
    description = two_parts.catalog.GetModel(GetModelRequest(model=ModelRef(name=part_name))).model
    embedding = embed(two_parts, part_name)
    assert len(embedding.factors) == description.factor_count == model_of(part_name).user_factors.shape[1]
    assert embedding.embedding_space == description.embedding_space


def test_a_version_whose_manifest_hides_its_ranking_part_is_refused(two_part_version, versions, tmp_path):
    version = versions.copy(two_part_version, tmp_path)
    manifest = versions.read(version)
    manifest.ranking_factor_count = 0
    for field in ("default_order", "new_user_order"):
        manifest.ClearField(field)
    tables = [table for table in manifest.tables if "prior" not in table.name]
    del manifest.tables[:]
    manifest.tables.extend(tables)
    versions.write(version, manifest)
    with pytest.raises(ModelRefused, match="disagree about a ranking part"):
        Engine(open_version_directory(version), [CPU], must_use_first=True)


def test_without_the_tables_of_the_prior_the_parts_still_add_up(two_part_version, versions, serve, tmp_path):
    version = versions.copy(two_part_version, tmp_path)
    for table in ("ranking_prior_mean", "ranking_prior_covariance"):
        versions.drop_table(version, table)
    api = serve(tmp_path)
    response = api.recommender.Explain(ExplainRequest(user=KNOWN, item_id="i007"))
    parts = response.ranking
    total = parts.item_part + parts.user_part + sum(reason.contribution for reason in parts.reasons)
    assert response.ranking_score == pytest.approx(total + parts.other_part + parts.unexplained, abs=1e-4)
