"""Calls that wait for the engine run together, and nobody gets another's answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from cofactor_server.arrays import NO_ROWS
from cofactor_server.errors import DeadlineExceeded
from cofactor_server.inference.catalogue_top_k import LONGEST_SHARED_EXCLUSION, MOST_SHARED_RESULTS, DirectTopK
from cofactor_server.inference.dynamic_batching import BatchedTopK, batching_pays
from cofactor_server.ranking.ranker import TopKQuery, UserVector, best_positions
from tests.support.waiting import until

N_ITEMS = 500
N_FACTORS = 4
ITEMS = np.random.default_rng(1).normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)


class NumpyGraph:
    """The recommend graph in numpy: right by construction, as slow as a test wants, counting its runs."""

    def __init__(self, seconds=0.0):
        self.batches = []
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()
        self.fails_for = None

    def recommend(self, user_factors, user_bias, popularity_weight, excluded_rows, k):
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
    return TopKQuery(user, float(random.normal()), excluded, int(random.integers(1, 40)), **fields)


def same(one, other):
    return np.array_equal(one.rows, other.rows) and np.allclose(one.scores, other.scores, atol=1e-5)


def batched(graph, max_batch_size=16, n_slots=1):
    return BatchedTopK(DirectTopK(graph, N_ITEMS, max_batch_size), max_batch_size, n_slots)


@pytest.mark.parametrize("n_slots", [1, 2])
def test_every_caller_gets_their_own_rows_under_load(n_slots):
    graph = NumpyGraph(seconds=0.001)
    top_k = batched(graph, n_slots=n_slots)
    direct = DirectTopK(NumpyGraph(), N_ITEMS, 16)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda seed: top_k.one(query(seed)), range(1500)))
    for seed, answer in enumerate(answers):
        assert len(answer.rows) == query(seed).k
        assert not set(answer.rows) & set(query(seed).excluded_rows)
        assert same(answer, direct.one(query(seed)))
    assert sum(graph.batches) == 1500
    assert max(graph.batches) <= 16
    assert np.mean(graph.batches) > 2  # they did run together


def test_a_batch_of_one_caller_equals_its_queries_one_by_one():
    direct = DirectTopK(NumpyGraph(), N_ITEMS, 7)
    queries = [query(seed) for seed in range(40)]
    assert all(same(a, direct.one(q)) for a, q in zip(direct.many(queries), queries, strict=True))
    assert direct.many([]) == []


def test_a_query_that_leaves_out_or_asks_for_very_much_does_not_stretch_its_neighbours():
    n_items = 3 * LONGEST_SHARED_EXCLUSION
    runs = []

    class Graph:
        def recommend(self, user_factors, user_bias, popularity_weight, excluded_rows, k):
            runs.append((*excluded_rows.shape, k))
            rows = np.zeros((len(user_factors), k), dtype=np.int64)
            return rows, rows.astype(np.float32), rows.astype(np.float32)

    user = UserVector(np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
    long = TopKQuery(user, 0.0, np.arange(LONGEST_SHARED_EXCLUSION + 1), 3)
    deep = TopKQuery(user, 0.0, np.arange(5), MOST_SHARED_RESULTS + 1)
    short = TopKQuery(user, 0.0, np.arange(5), 3)
    answers = DirectTopK(Graph(), n_items, 16).many([short, long, deep, short])
    assert sorted(runs) == [(1, 5, MOST_SHARED_RESULTS + 1), (1, LONGEST_SHARED_EXCLUSION + 1, 3), (2, 5, 3)]
    assert [len(answer.rows) for answer in answers] == [3, 3, MOST_SHARED_RESULTS + 1, 3]


def test_a_query_whose_caller_gave_up_while_it_waited_never_runs():
    graph = NumpyGraph()
    graph.gate.clear()
    top_k = batched(graph)
    gave_up = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(top_k.one, query(0))
        until(lambda: graph.batches == [1])
        waiting = [pool.submit(top_k.one, query(n, is_wanted=lambda: not gave_up.is_set())) for n in (1, 2, 3)]
        patient = pool.submit(top_k.one, query(4))
        until(lambda: len(top_k._waiting) == 4)
        gave_up.set()
        graph.gate.set()
        assert first.result(10).rows.size
        assert patient.result(10).rows.size
        for future in waiting:
            with pytest.raises(DeadlineExceeded):
                future.result(10)
    assert sum(graph.batches) == 2  # the first and the patient one


def test_one_that_fails_does_not_take_its_neighbours_with_it():
    graph = NumpyGraph()
    graph.gate.clear()
    poison = query(5)
    graph.fails_for = poison.user.factors[0, 0]
    top_k = batched(graph)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(top_k.one, query(0))
        until(lambda: graph.batches == [1])
        others = {seed: pool.submit(top_k.one, query(seed)) for seed in (4, 5, 6)}
        until(lambda: len(top_k._waiting) == 3)
        graph.gate.set()
        first.result(10)
        with pytest.raises(RuntimeError, match="poison"):
            others[5].result(10)
        assert same(others[4].result(10), DirectTopK(NumpyGraph(), N_ITEMS, 4).one(query(4)))
        assert others[6].result(10).rows.size
    graph.fails_for = None
    assert top_k.one(query(9)).rows.size  # the slot is free again


def test_a_lone_call_runs_at_once_and_alone():
    graph = NumpyGraph()
    top_k = batched(graph)
    for seed in range(3):
        top_k.one(query(seed))
    assert graph.batches == [1, 1, 1]


@pytest.mark.parametrize(
    ("per_run", "per_user", "pays"),
    [(0.001, 0, True), (0.02, 0.001, True), (0, 0.02, False), (0.00005, 0.00002, False)],
)
def test_batching_pays_where_a_joint_run_saves_more_than_a_hand_over(monkeypatch, per_run, per_user, pays):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    class Costly(NumpyGraph):
        def recommend(self, user_factors, *arguments):
            clock.now += per_run + per_user * len(user_factors)
            return super().recommend(user_factors, *arguments)

    monkeypatch.setattr("cofactor_server.inference.dynamic_batching.time", clock)
    assert batching_pays(DirectTopK(Costly(), N_ITEMS, 8), N_FACTORS) is pays


def test_an_empty_exclusion_is_allowed():
    answer = DirectTopK(NumpyGraph(), N_ITEMS, 4).one(TopKQuery(query(1).user, 0.0, NO_ROWS, 3))
    assert len(answer.rows) == 3
