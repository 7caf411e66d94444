"""Test filters on a real server: Recommend and SimilarItems return the items that meet them, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import ItemFilter, RecommendRequest, SimilarItemsRequest, User
from tests.support.expected import COUNTS, DATASET, ITEM_IDS, KNOWN, N_ITEMS, RATED, ids_of, logits_of, ordered


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
