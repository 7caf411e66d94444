"""Give places of a page to added items by chance: how many, which, and that pages fit together."""

from __future__ import annotations

from collections import Counter

import grpc
import numpy as np
import pytest

from cofactor.v1 import recommender_pb2 as pb
from cofactor_server.ranking.overlay.exploration import explore
from cofactor_server.ranking.ranker import Exploration, Ranking
from tests.support.overlays import Twins, publish

NEW = [f"new{number}" for number in range(12)]


@pytest.fixture(scope="module")
def api(connect_to, versions, dot_version, tmp_path_factory):
    """Return the stubs of a server with twelve added items that nobody would get by their scores."""
    models = tmp_path_factory.mktemp("explored") / "models"
    copied = versions.copy(dot_version, models, "m")
    twins = Twins(copied)
    added = [twins.twin(f"i{10 + n:03}", new, bias=-50.0, genres=["Fresh"]) for n, new in enumerate(NEW)]
    publish(models, twins.overlay(1, added, ["i000"]))
    versions.copy(dot_version, models, "plain")
    with connect_to(models, poll_interval_s=0, model="m", cache_mib=1) as connection:
        yield connection


def recommend(api, user_id="u003", *, page_size=10, share=0.3, **fields):
    request = pb.RecommendRequest(user=pb.User(user_id=user_id), page_size=page_size, exploration_share=share, **fields)
    return api.recommender.Recommend(request, timeout=60)


def explored(response):
    return [result.item_id for result in response.results if result.is_exploration]


def test_an_exact_share_of_every_page_goes_to_added_items_and_is_marked(api) -> None:
    for user in range(20):
        response = recommend(api, f"u{user:03}")
        marked = explored(response)
        assert len(response.results) == 10
        assert len(marked) == len(set(marked)) == 3
        assert set(marked) <= set(NEW)
        others = [result.item_id for result in response.results if not result.is_exploration]
        assert others == [r.item_id for r in recommend(api, f"u{user:03}", share=0).results][:7]
        assert explored(recommend(api, f"u{user:03}", share=0)) == []


def test_a_share_that_is_no_whole_number_of_places_is_right_on_average() -> None:
    ranking, candidates = _rows(range(100)), _rows(range(100, 110))
    counts = Counter(
        int(explore(ranking, candidates, Exploration(0.25, b"%d" % seed), 0, 10).is_exploration.sum())
        for seed in range(2000)
    )
    assert set(counts) == {2, 3}
    assert counts[3] / 2000 == pytest.approx(0.5, abs=0.05)


def test_items_are_drawn_in_proportion_to_the_exponential_of_their_scores_and_places_evenly() -> None:
    ranking = _rows(range(20))
    scores = np.log(np.array([1, 2, 5], dtype=np.float32))
    candidates = Ranking(np.array([30, 31, 32]), scores, scores)
    items, places = Counter(), Counter()
    for seed in range(4000):
        page = explore(ranking, candidates, Exploration(0.1, b"%d" % seed), 0, 10)
        [place] = np.flatnonzero(page.is_exploration)
        items[int(page.rows[place])] += 1
        places[int(place)] += 1
    assert [items[row] / 4000 for row in (30, 31, 32)] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)
    assert [places[place] / 4000 for place in range(10)] == pytest.approx([0.1] * 10, abs=0.03)


def test_equal_requests_have_equal_answers_and_users_differ(api) -> None:
    first = recommend(api, "u005")
    assert [r.item_id for r in recommend(api, "u005").results] == [r.item_id for r in first.results]
    assert explored(recommend(api, "u005")) == explored(first)
    assert len({tuple(explored(recommend(api, f"u{user:03}"))) for user in range(20)}) > 10


def test_pages_fit_together_without_repeating_an_item(api) -> None:
    found, marked, token = [], [], ""
    while True:
        page = recommend(api, page_size=7, share=0.5, page_token=token, include_rated=True)
        found += [result.item_id for result in page.results]
        marked += explored(page)
        token = page.next_page_token
        if not token:
            break
        assert len(page.results) == 7
    assert len(found) == len(set(found)) == 120 - 1 + len(NEW)
    assert set(marked) <= set(NEW)
    assert len(marked) >= 10


def test_filters_decide_which_added_items_may_be_drawn(api) -> None:
    none = recommend(api, filter=pb.ItemFilter(excluded_genres=["Fresh"]))
    assert (explored(none), len(none.results)) == ([], 10)
    two = recommend(api, filter=pb.ItemFilter(excluded_item_ids=NEW[2:]), share=1)
    assert set(explored(two)) == set(NEW[:2])
    assert len(two.results) == 10
    only = recommend(api, filter=pb.ItemFilter(candidate_item_ids=[*NEW[:3], "i040", "i041"]), share=0.4, page_size=5)
    assert len(only.results) == 5
    assert len(explored(only)) == 2
    high = recommend(api, min_predicted_rating=3.0)
    assert explored(high) == []


def test_a_batch_explores_as_single_calls_do_and_items_carry_their_titles(api) -> None:
    requests = [
        pb.RecommendRequest(user=pb.User(user_id=f"u{user:03}"), exploration_share=0.3, return_items=True)
        for user in range(5)
    ]
    batch = api.recommender.BatchRecommend(pb.BatchRecommendRequest(requests=requests), timeout=60)
    for entry, request in zip(batch.entries, requests, strict=True):
        single = api.recommender.Recommend(request, timeout=60)
        assert list(entry.response.results) == list(single.results)
        for result in single.results:
            assert result.item.item_id == result.item_id
            assert result.is_exploration == result.item.title.startswith("Twin of")


def test_without_an_overlay_the_share_changes_nothing(api) -> None:
    from cofactor.v1.model_pb2 import ModelRef

    plain = recommend(api, model=ModelRef(name="plain"))
    assert [r.item_id for r in plain.results] == [
        r.item_id for r in recommend(api, model=ModelRef(name="plain"), share=0).results
    ]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_off_the_range_is_refused(api, share) -> None:
    with pytest.raises(grpc.RpcError, match="exploration_share") as refused:
        recommend(api, share=share)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def _rows(rows):
    rows = np.array(rows)
    scores = -rows.astype(np.float32) / 100
    return Ranking(rows, scores, scores)
