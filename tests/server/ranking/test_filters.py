"""Test filters on a real server: Recommend and SimilarItems return the items that meet them, and no others."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    ItemFilter,
    RecommendRequest,
    SimilarItemsRequest,
    StreamRecommendRequest,
    User,
)
from tests.support.calls import details_of
from tests.support.expected import COUNTS, DATASET, ITEM_IDS, KNOWN, N_ITEMS, RATED, ids_of, logits_of, ordered
from tests.support.synthetic import attribute_values


def attribute_filters():
    genres = DATASET.catalogue.genres
    years = DATASET.catalogue.release_years
    rows = range(N_ITEMS)
    return {
        "any_genres": (
            ItemFilter(any_genres=["Drama", "Comedy"]),
            [r for r in rows if {"Drama", "Comedy"} & set(genres[r])],
        ),
        "excluded_genres": (ItemFilter(excluded_genres=["Action"]), [r for r in rows if "Action" not in genres[r]]),
        "genre of no item": (ItemFilter(any_genres=["Western"]), []),
        "from": (ItemFilter(min_release_year=1990), [r for r in rows if years[r] >= 1990]),
        "until": (ItemFilter(max_release_year=1970), [r for r in rows if 0 < years[r] <= 1970]),
        "count": (ItemFilter(min_rating_count=5), [r for r in rows if COUNTS[r] >= 5]),
        "few left out": (ItemFilter(min_rating_count=1), [r for r in rows if COUNTS[r] >= 1]),
        "expression": (
            ItemFilter(expression='NOT genres:"Action" AND (release_year >= 1990 OR title = "* 7")'),
            [r for r in rows if "Action" not in genres[r] and (years[r] >= 1990 or r == 7)],
        ),
        "expression of many": (ItemFilter(expression='item_id != "i005"'), [r for r in rows if r != 5]),
        "expression and candidates": (
            ItemFilter(expression="rating_count > 3", candidate_item_ids=ITEM_IDS[40:9:-1], any_genres=["Drama"]),
            [r for r in range(10, 41) if COUNTS[r] > 3 and "Drama" in genres[r]],
        ),
        "expression, candidates and excluded items": (
            ItemFilter(
                expression="rating_count >= 1", candidate_item_ids=ITEM_IDS[10:40], excluded_item_ids=ITEM_IDS[20:30]
            ),
            [r for r in (*range(10, 20), *range(30, 40)) if COUNTS[r] >= 1],
        ),
        "candidates": (ItemFilter(candidate_item_ids=ITEM_IDS[10:40]), range(10, 40)),
        "excluded": (ItemFilter(excluded_item_ids=[*ITEM_IDS[:100], "nothing"]), range(100, N_ITEMS)),
        "together": (
            ItemFilter(
                candidate_item_ids=ITEM_IDS[:90], excluded_item_ids=ITEM_IDS[5:9], any_genres=["Sci-Fi"],
                min_release_year=1965, max_release_year=2010, min_rating_count=2,
            ),
            [
                r for r in range(90)
                if r not in range(5, 9) and "Sci-Fi" in genres[r] and 1965 <= years[r] <= 2010 and COUNTS[r] >= 2
            ],
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(attribute_filters()))
def test_filters_return_the_items_that_meet_them_and_no_others(api, name, kind):
    item_filter, allowed = attribute_filters()[kind]
    request = RecommendRequest(model=ModelRef(name=name), user=KNOWN, page_size=1000, filter=item_filter)
    for _ in range(2):  # the second time, the filter is cached
        response = api.recommender.Recommend(request)
        expected = ordered(logits_of(name) + np.log1p(COUNTS), set(allowed) - set(RATED))
        assert ids_of(response) == expected
    similar = api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i004"], page_size=1000, filter=item_filter))
    assert set(ids_of(similar)) == {ITEM_IDS[row] for row in allowed} - {"i004"}


def test_unknown_candidates_are_listed_and_the_others_ranked(api):
    item_filter = ItemFilter(candidate_item_ids=["nothing", "i050", "i051", "nil", "nothing"])
    response = api.recommender.Recommend(RecommendRequest(user=User(user_id="u039"), filter=item_filter))
    assert set(ids_of(response)) == {"i050", "i051"}
    assert response.missing_item_ids == ["nothing", "nil"]
    response = api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i001"], filter=item_filter))
    assert set(ids_of(response)) == {"i050", "i051"}
    assert response.missing_item_ids == ["nothing", "nil"]


def test_a_filter_that_no_item_meets_gives_an_empty_response(api):
    nothing = ItemFilter(excluded_item_ids=ITEM_IDS)
    response = api.recommender.Recommend(RecommendRequest(user=KNOWN, filter=nothing))
    assert (list(response.results), response.next_page_token) == ([], "")
    response = api.recommender.Recommend(RecommendRequest(user=KNOWN, filter=ItemFilter(candidate_item_ids=["nil"])))
    assert (list(response.results), response.missing_item_ids) == ([], ["nil"])
    response = api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i001"], filter=nothing))
    assert list(response.results) == []


def further_filters():
    values = [attribute_values(row) for row in range(N_ITEMS)]
    day = datetime(2024, 2, 1, tzinfo=UTC)
    return {
        'brand = "Acme" AND price < 20 AND NOT tags:"new"': [
            v["brand"] == "Acme" and (v["price"] or 99) < 20 and "new" not in (v["tags"] or ()) for v in values
        ],
        'brand in ["Bolt", "Cog", "None"] OR added > "2024-02-01"': [
            v["brand"] in ("Bolt", "Cog") or (v["added"] is not None and v["added"] > day) for v in values
        ],
        "NOT in_stock AND price:*": [not v["in_stock"] and v["price"] is not None for v in values],
    }


@pytest.mark.parametrize("expression", list(further_filters()))
def test_attributes_of_the_training_data_filter_every_kind_of_call(api, expression):
    allowed = {ITEM_IDS[row] for row in np.flatnonzero(further_filters()[expression])}
    request = RecommendRequest(
        user=KNOWN, page_size=200, filter=ItemFilter(expression=expression), include_rated=True, return_items=True
    )
    recommend = api.recommender.Recommend(request)
    assert 0 < len(allowed) < N_ITEMS
    assert set(ids_of(recommend)) == allowed
    batch = api.recommender.BatchRecommend(BatchRecommendRequest(requests=[request, RecommendRequest(user=KNOWN)]))
    assert batch.entries[0].response.results == recommend.results
    stream = list(api.recommender.StreamRecommend(iter([StreamRecommendRequest(request_id="1", request=request)])))
    assert stream[0].response.results == recommend.results
    similar = SimilarItemsRequest(item_ids=["i004"], page_size=200, filter=request.filter)
    assert set(ids_of(api.recommender.SimilarItems(similar))) == allowed - {"i004"}


def test_an_expression_with_a_mistake_fails_its_own_entry_of_a_batch(api):
    bad = RecommendRequest(user=KNOWN, filter=ItemFilter(expression="prize < 5"))
    entries = api.recommender.BatchRecommend(
        BatchRecommendRequest(requests=[RecommendRequest(user=KNOWN), bad])
    ).entries
    assert len(entries[0].response.results) == 10
    assert entries[1].error.reason == "INVALID_FILTER_EXPRESSION"
    assert "did you mean price?" in entries[1].error.message


def test_the_position_of_a_mistake_is_for_programs_too(api):
    with pytest.raises(grpc.RpcError) as error:
        api.recommender.Recommend(RecommendRequest(user=KNOWN, filter=ItemFilter(expression="price == 5")))
    info = details_of(error.value)["ErrorInfo"]
    assert dict(info.metadata) == {"position": "7", "suggestion": "="}


@pytest.mark.parametrize(
    ("short", "expression"),
    [
        (ItemFilter(any_genres=["Drama", "Comedy"]), 'genres in ["Drama", "Comedy"]'),
        (ItemFilter(excluded_genres=["Action"]), 'NOT genres:"Action"'),
        (ItemFilter(min_release_year=1990, max_release_year=2000), "release_year >= 1990 AND release_year <= 2000"),
        (ItemFilter(min_rating_count=5), "rating_count >= 5"),
        (ItemFilter(candidate_item_ids=ITEM_IDS[3:6]), 'item_id in ["i003", "i004", "i005"]'),
    ],
)
def test_the_other_fields_are_short_forms_of_expressions(api, short, expression):
    ask = [RecommendRequest(user=KNOWN, page_size=200, filter=f) for f in (short, ItemFilter(expression=expression))]
    one, other = map(api.recommender.Recommend, ask)
    assert len(one.results) > 0
    assert ids_of(one) == ids_of(other)


def test_an_expression_that_only_one_model_can_use_is_refused_by_the_other(api):
    request = RecommendRequest(model=ModelRef(name="net"), user=KNOWN, filter=ItemFilter(expression="price < 5"))
    with pytest.raises(grpc.RpcError, match='"price" is not an attribute of the model'):
        api.recommender.Recommend(request)
