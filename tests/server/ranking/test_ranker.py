"""Test the ranking core on scores whose order is known, with ties and edge cases."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cofactor_server.ranking.diversity import diversify
from cofactor_server.ranking.filters import ALL_ITEMS, ItemSelection
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.ranker import Ranker, Ranking, RankingQuery, UserVector, best_positions

N = 40
# Every two items have the same score, so that every ranking has ties.
LOGITS = np.repeat(np.arange(N // 2, dtype=np.float32)[::-1], 2)
POPULARITY = np.tile(np.array([0, 1], dtype=np.float32), N // 2)


class NumpyEngine:
    """Predictor and top k in numpy; records the k of every query."""

    def __init__(self):
        self.depths = []

    def predict(self, user_factors, user_bias, item_rows):
        return LOGITS[item_rows], LOGITS[item_rows] / 4

    def find(self, query):
        self.depths.append(query.k)
        scores = LOGITS + np.float32(query.order.popularity_weight) * POPULARITY
        scores[query.excluded_rows] = -1e30
        rows = np.argsort(-scores, kind="stable")[: query.k]
        assert 1 <= query.k <= N - len(query.excluded_rows)
        return Ranking(rows, scores[rows], LOGITS[rows] / 4)

    def find_many(self, queries):
        return [self.find(query) for query in queries]


def ranker(engine=None):
    engine = engine or NumpyEngine()
    factors = np.random.default_rng(0).normal(size=(N + 1, 3)).astype(np.float32)
    tables = {
        "item_factors": factors,
        "item_inverse_norms": 1 / np.linalg.norm(factors, axis=1),
        "item_log_popularity": np.append(POPULARITY, np.float32(0)),
    }
    return Ranker(engine, ItemScorer(engine, tables))


def user(*rated):
    return UserVector(np.zeros((1, 3), np.float32), np.zeros(1, np.float32), np.array(rated, dtype=np.int64))


def query(**fields):
    return RankingQuery(**{"user": user(), "offset": 0, "page_size": 10, **fields})


@pytest.mark.parametrize("allowed", [None, np.arange(N)])
def test_equal_scores_are_ranked_by_row_with_and_without_an_allow_list(allowed):
    ranking = ranker().rank(query(selection=ItemSelection(allowed), page_size=N))
    assert ranking.rows.tolist() == list(range(N))
    assert not ranking.has_more


@pytest.mark.parametrize("diversity", [0.0, 0.5])
@pytest.mark.parametrize("min_rating", [None, 2.0])
@pytest.mark.parametrize("weight", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("allowed", [None, np.arange(3, 37)])
@pytest.mark.parametrize("rated", [(), (0, 1, 5, 39), tuple(range(N))])
def test_pages_of_any_size_add_up_to_the_same_ranking(diversity, min_rating, weight, allowed, rated):
    fields = {
        "user": user(*rated), "diversity": diversity, "min_rating": min_rating, "selection": ItemSelection(allowed),
        "order": Order(popularity_weight=weight),
    }  # fmt: skip
    core = ranker()
    whole = core.rank(query(page_size=N, **fields))
    assert not whole.has_more
    rows = set(range(N) if allowed is None else allowed) - set(rated)
    if min_rating is not None:
        rows = {row for row in rows if LOGITS[row] / 4 >= min_rating}
    assert sorted(whole.rows) == sorted(rows)
    for page_size in (1, 7, len(rows) or 1):
        found, offset, more = [], 0, True
        while more:
            page = core.rank(query(page_size=page_size, offset=offset, **fields))
            found += page.rows.tolist()
            offset += page_size
            more = page.has_more
            assert not more or len(page.rows) == page_size
        assert found == whole.rows.tolist()


def test_rank_many_equals_rank_one_by_one():
    queries = [
        query(
            user=user(*range(n)),
            page_size=1 + n,
            offset=n % 3,
            order=Order(popularity_weight=float(n % 2)),
            diversity=0.2 * (n % 4),
        )
        for n in range(N)
    ] + [query(selection=ItemSelection(np.arange(5))), query(user=user(*range(N)))]
    core = ranker()
    for one, many in zip(map(core.rank, queries), core.rank_many(queries), strict=True):
        assert one.rows.tolist() == many.rows.tolist()
        assert one.has_more == many.has_more


def test_a_page_beyond_the_end_is_empty_and_does_not_run_the_engine():
    engine = NumpyEngine()
    ranking = ranker(engine).rank(query(offset=N))
    assert (len(ranking.rows), ranking.has_more, engine.depths) == (0, False, [])


def test_the_engine_is_asked_for_the_items_up_to_the_end_of_the_page():
    engine = NumpyEngine()
    ranker(engine).rank(query(offset=5, page_size=4, selection=ALL_ITEMS))
    assert engine.depths == [9]


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 100])
def test_best_positions_equals_the_start_of_a_stable_sort(k):
    scores = np.array([1, 3, 3, 2, 3, 1, 0, 2], dtype=np.float32)
    assert best_positions(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


def test_diversity_ranks_an_unlike_item_before_a_duplicate_of_the_first():
    scores = np.array([3.0, 2.9, 2.0, 1.0], dtype=np.float32)
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, -1]], dtype=np.float32)
    assert diversify(scores, vectors, 0.0, 4).tolist() == [0, 1, 2, 3]
    assert diversify(scores, vectors, 0.6, 4).tolist()[:3] == [0, 2, 3]
    assert diversify(scores, vectors, 0.6, 2).tolist() == [0, 2, 1, 3]  # the others in their old order
    assert diversify(np.ones(3, np.float32), np.zeros((3, 2), np.float32), 1.0, 3).tolist() == [0, 1, 2]


def test_the_core_loads_neither_grpc_nor_onnxruntime():
    code = (
        "import sys, cofactor_server.ranking.ranker, cofactor_server.ranking.similar_items, "
        "cofactor_server.inference.dynamic_batching, cofactor_server.ranking.explanation; "
        "print(sorted({'grpc', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr
