"""Test that calls which wait for the engine run in batches, and every caller gets its own ranking."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from cofactor_server.arrays import NO_ROWS
from cofactor_server.errors import DeadlineExceeded
from cofactor_server.inference.catalogue_top_k import MAX_SHARED_EXCLUSIONS, MAX_SHARED_RESULTS, CatalogueTopK
from cofactor_server.inference.dynamic_batching import DynamicBatcher, batching_pays
from cofactor_server.ranking.orders import BY_RATING, Order
from cofactor_server.ranking.ranker import TopKQuery, UserVector, best_positions
from tests.support.waiting import until

N_ITEMS = 500
N_FACTORS = 4
ITEMS = np.random.default_rng(1).normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)


class NumpyGraph:
    """Recommend graph in numpy: correct by construction, as slow as a test needs, and counting its runs."""

    has_ranking_part = False

    def __init__(self, seconds=0.0):
        self.batches = []
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()
        self.fails_for = None

    def recommend(self, user_factors, user_bias, popularity_weight, excluded_rows, k, order_weights):
        self.batches.append(len(user_factors))
        if self.fails_for is not None and np.any(user_factors[:, 0] == self.fails_for):
            raise RuntimeError("poison")
        self.gate.wait()
        time.sleep(self.seconds)
        scores = user_factors @ ITEMS.T + user_bias[:, None] + popularity_weight[:, None]
        for row, excluded in zip(scores, excluded_rows, strict=True):
            row[excluded[excluded < N_ITEMS]] = -1e30
        rows = np.stack([best_positions(row, k) for row in scores])
        return rows, np.take_along_axis(scores, rows, 1), np.take_along_axis(scores, rows, 1)


def query(seed, **fields):
    random = np.random.default_rng(seed)
    user = UserVector(random.normal(size=(1, N_FACTORS)).astype(np.float32), random.normal(size=1).astype(np.float32))
    excluded = np.unique(random.integers(0, N_ITEMS, random.integers(0, 60)))
    return TopKQuery(
        user, Order(popularity_weight=float(random.normal())), excluded, int(random.integers(1, 40)), **fields
    )


def same(one, other):
    return np.array_equal(one.rows, other.rows) and np.allclose(one.scores, other.scores, atol=1e-5)


def batcher(graph, max_batch_size=16, n_slots=1):
    return DynamicBatcher(CatalogueTopK(graph, N_ITEMS, max_batch_size), max_batch_size, n_slots)


@pytest.mark.parametrize("n_slots", [1, 2])
def test_every_caller_gets_its_own_rows_under_load(n_slots):
    graph = NumpyGraph(seconds=0.001)
    top_k = batcher(graph, n_slots=n_slots)
    direct = CatalogueTopK(NumpyGraph(), N_ITEMS, 16)
    with ThreadPoolExecutor(32) as pool:
        rankings = list(pool.map(lambda seed: top_k.find(query(seed)), range(1500)))
    for seed, ranking in enumerate(rankings):
        assert len(ranking.rows) == query(seed).k
        assert not set(ranking.rows) & set(query(seed).excluded_rows)
        assert same(ranking, direct.find(query(seed)))
    assert sum(graph.batches) == 1500
    assert max(graph.batches) <= 16
    assert np.mean(graph.batches) > 2  # they did run in batches


def test_find_many_equals_find_one_by_one():
    direct = CatalogueTopK(NumpyGraph(), N_ITEMS, 7)
    queries = [query(seed) for seed in range(40)]
    assert all(same(a, direct.find(q)) for a, q in zip(direct.find_many(queries), queries, strict=True))
    assert direct.find_many([]) == []


def test_a_query_with_very_many_exclusions_or_results_runs_alone():
    n_items = 3 * MAX_SHARED_EXCLUSIONS
    runs = []

    class Graph:
        has_ranking_part = False

        def recommend(self, user_factors, user_bias, popularity_weight, excluded_rows, k, order_weights):
            runs.append((*excluded_rows.shape, k))
            rows = np.zeros((len(user_factors), k), dtype=np.int64)
            return rows, rows.astype(np.float32), rows.astype(np.float32)

    user = UserVector(np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
    long = TopKQuery(user, BY_RATING, np.arange(MAX_SHARED_EXCLUSIONS + 1), 3)
    deep = TopKQuery(user, BY_RATING, np.arange(5), MAX_SHARED_RESULTS + 1)
    short = TopKQuery(user, BY_RATING, np.arange(5), 3)
    rankings = CatalogueTopK(Graph(), n_items, 16).find_many([short, long, deep, short])
    assert sorted(runs) == [(1, 5, MAX_SHARED_RESULTS + 1), (1, MAX_SHARED_EXCLUSIONS + 1, 3), (2, 5, 3)]
    assert [len(ranking.rows) for ranking in rankings] == [3, 3, MAX_SHARED_RESULTS + 1, 3]


def test_a_query_that_is_cancelled_while_it_waits_never_runs():
    graph = NumpyGraph()
    graph.gate.clear()
    top_k = batcher(graph)
    is_cancelled = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(top_k.find, query(0))
        until(lambda: graph.batches == [1])
        waiting = [pool.submit(top_k.find, query(n, is_active=lambda: not is_cancelled.is_set())) for n in (1, 2, 3)]
        active = pool.submit(top_k.find, query(4))
        until(lambda: len(top_k._waiting) == 4)
        is_cancelled.set()
        graph.gate.set()
        assert first.result(10).rows.size
        assert active.result(10).rows.size
        for future in waiting:
            with pytest.raises(DeadlineExceeded):
                future.result(10)
    assert sum(graph.batches) == 2  # the first and the active one


def test_a_failing_query_does_not_fail_the_others_of_its_batch():
    graph = NumpyGraph()
    graph.gate.clear()
    failing = query(5)
    graph.fails_for = failing.user.factors[0, 0]
    top_k = batcher(graph)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(top_k.find, query(0))
        until(lambda: graph.batches == [1])
        others = {seed: pool.submit(top_k.find, query(seed)) for seed in (4, 5, 6)}
        until(lambda: len(top_k._waiting) == 3)
        graph.gate.set()
        first.result(10)
        with pytest.raises(RuntimeError, match="poison"):
            others[5].result(10)
        assert same(others[4].result(10), CatalogueTopK(NumpyGraph(), N_ITEMS, 4).find(query(4)))
        assert others[6].result(10).rows.size
    graph.fails_for = None
    assert top_k.find(query(9)).rows.size  # the slot is free again


def test_a_lone_call_runs_at_once_and_alone():
    graph = NumpyGraph()
    top_k = batcher(graph)
    for seed in range(3):
        top_k.find(query(seed))
    assert graph.batches == [1, 1, 1]


@pytest.mark.parametrize(
    ("per_run", "per_user", "pays"),
    [(0.001, 0, True), (0.02, 0.001, True), (0, 0.02, False), (0.00005, 0.00002, False)],
)
def test_batching_pays_if_a_shared_run_saves_more_than_a_hand_over_costs(monkeypatch, per_run, per_user, pays):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    class TimedGraph(NumpyGraph):
        def recommend(self, user_factors, *arguments):
            clock.now += per_run + per_user * len(user_factors)
            return super().recommend(user_factors, *arguments)

    monkeypatch.setattr("cofactor_server.inference.dynamic_batching.time", clock)
    assert batching_pays(CatalogueTopK(TimedGraph(), N_ITEMS, 8), N_FACTORS) is pays


def test_an_empty_exclusion_is_allowed():
    ranking = CatalogueTopK(NumpyGraph(), N_ITEMS, 4).find(TopKQuery(query(1).user, BY_RATING, NO_ROWS, 3))
    assert len(ranking.rows) == 3
