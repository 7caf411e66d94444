"""Recommend from an index: what it returns is exact, what it must not return it does not, and the rest is exact."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import PredictRequest, RecommendRequest, User
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.inference.ann_index import ApproximateTopK, CandidateIndex
from cofactor_server.inference.catalogue_top_k import DirectTopK
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.ranking.ranker import TopKQuery, UserVector
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_server.server import create_server

N_ITEMS = 6000
N_USERS = 100


@pytest.fixture(scope="module")
def films(indexed_version, tmp_path_factory, versions):
    """A folder of that version alone."""
    models = tmp_path_factory.mktemp("films")
    versions.copy(indexed_version, models)
    return models


class Counting:
    """An exact top-k that counts what it is asked."""

    def __init__(self, exact):
        self.exact, self.n_queries = exact, 0

    def one(self, query):
        self.n_queries += 1
        return self.exact.one(query)

    def many(self, queries):
        self.n_queries += len(queries)
        return self.exact.many(queries)


class Served:
    """A bundle's approximate and exact answers."""

    def __init__(self, version):
        self.bundle = open_version_directory(version)
        engine = Engine(self.bundle, [CPU], must_use_first=True)
        self.exact = Counting(DirectTopK(engine, N_ITEMS, 16))
        self.approximate = ApproximateTopK(self.bundle, self.exact, engine)

    def query(self, row, k=10, weight=1.0, excluded=None):
        tables = self.bundle.tables
        if excluded is None:
            start, end = tables["rated.offsets"][row : row + 2]
            excluded = tables["rated.item_rows"][start:end].astype(np.int64)
        user = UserVector(tables["user_factors"][row : row + 1], tables["user_bias"][row : row + 1])
        return TopKQuery(user, weight, np.asarray(excluded, dtype=np.int64), k)

    def from_index(self, query):
        """The answer, which no exact query was made for."""
        before = self.exact.n_queries
        answer = self.approximate.one(query)
        assert self.exact.n_queries == before
        return answer


@pytest.fixture(scope="module")
def served(indexed_version):
    return Served(indexed_version)


def same(one, other):
    return np.array_equal(one.rows, other.rows) and np.allclose(one.scores, other.scores, atol=1e-5)


def shared(one, other):
    return len(np.intersect1d(one.rows, other.rows)) / len(other.rows)


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("k", [10, 100])
def test_it_finds_what_the_version_states(served, k, weight):
    found = []
    for row in range(N_USERS):
        query = served.query(row, k, weight)
        exact, ours = served.exact.one(query), served.from_index(query)
        # A twin of the last one scores as high.
        found.append(np.mean(ours.scores >= exact.scores[-1] - 1e-5))
    assert np.mean(found) >= served.bundle.manifest.metrics[f"approximate_recall@{k}"] - 1e-6


def test_what_it_returns_has_its_exact_score_and_rating_best_first_and_equals_by_row(served):
    tables = served.bundle.tables
    for row in range(20):
        query = served.query(row, 100)
        ours = served.from_index(query)
        logits = tables["item_factors"][ours.rows] @ query.user.factors[0] + tables["item_bias"][ours.rows]
        logits = logits + query.user.bias[0] + served.bundle.manifest.global_bias
        np.testing.assert_allclose(ours.scores, logits + tables["item_log_popularity"][ours.rows], atol=1e-5)
        np.testing.assert_allclose(ours.ratings, 0.5 + 5 / (1 + np.exp(-logits)), atol=1e-5)
        order = np.lexsort((ours.rows, -ours.scores))
        assert np.array_equal(order, np.arange(100))
        pairs = ours.rows[0::2] // 2  # the twins stand together, but where the page ends between them
        assert np.mean(pairs == ours.rows[1::2] // 2) > 0.9


@pytest.mark.parametrize("n_excluded", [0, 1, 100, 256, 257, 3000, N_ITEMS - 50])
def test_excluded_items_never_come_even_if_they_are_all_the_best(served, n_excluded):
    everything = served.exact.one(served.query(3, N_ITEMS, excluded=[]))
    excluded = np.sort(everything.rows[:n_excluded])
    ours = served.approximate.one(served.query(3, 50, excluded=excluded))
    assert len(ours.rows) == 50
    assert not np.isin(ours.rows, excluded).any()
    assert shared(ours, served.exact.one(served.query(3, 50, excluded=excluded))) > 0.8


def test_excluded_items_that_are_not_among_the_best_cost_no_exact_run(served):
    worst = served.exact.one(served.query(3, N_ITEMS, excluded=[])).rows[2000:]
    assert (
        shared(served.from_index(served.query(3, 50, excluded=np.sort(worst))), served.exact.one(served.query(3, 50)))
        > 0.8
    )


@pytest.mark.parametrize(
    ("k", "weight"),
    [
        (101, 1.0),
        (10, 0.5),
        (10, -2.0),
    ],
    ids=["more than it is measured for", "another weight", "a negative weight"],
)
def test_what_it_was_not_measured_for_is_answered_exactly(served, k, weight):
    query = served.query(2, k, weight)
    before = served.exact.n_queries
    answer = served.approximate.one(query)
    assert served.exact.n_queries == before + 1
    assert same(answer, served.exact.one(query))


def test_more_results_than_the_index_finds_are_answered_exactly(indexed_version, tmp_path, versions):
    version = versions.copy(indexed_version, tmp_path)
    manifest = versions.read(version)
    manifest.approximate_index.probe_count = 1
    versions.write(version, manifest)
    narrow = Served(version)
    query = narrow.query(1, 100)
    assert len(CandidateIndex(narrow.bundle).candidates(query.user.factors, 1.0, 1000)) < 100
    assert same(narrow.approximate.one(query), narrow.exact.one(query))
    assert narrow.exact.n_queries == 2


def test_many_queries_are_each_answered_as_alone(served):
    queries = [served.query(row, k, weight) for row, k, weight in [(0, 5, 1.0), (1, 200, 1.0), (2, 9, 0.3), (3, 7, 0)]]
    for answer, query in zip(served.approximate.many(queries), queries, strict=True):
        assert same(answer, served.approximate.one(query))


def test_threads_do_not_mix_their_answers_up(served):
    queries = [served.query(row, 10, weight) for row in range(N_USERS) for weight in (0.0, 1.0)]
    alone = [served.approximate.one(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(served.approximate.one, queries * 3))
    assert all(same(one, other) for one, other in zip(together, alone * 3, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_index_is_mapped_and_not_copied(indexed_version):
    index = CandidateIndex(open_version_directory(indexed_version))
    assert "candidates.faiss" in Path("/proc/self/maps").read_text()
    del index


def call(api, **fields):
    user = fields.pop("user", "u0005")
    return api.recommender.Recommend(RecommendRequest(user=User(user_id=user), **fields), timeout=20)


def scores(response):
    return [(result.item_id, pytest.approx(result.score, abs=1e-4)) for result in response.results]


def test_a_server_that_is_told_to_recommends_from_the_index(films, serve):
    ours, exact = serve(films, approximate=True), serve(films)
    assert ours.catalog.GetModel(GetModelRequest()).model.metrics["approximate_recall@10"] >= 0.99
    n_shared = 0
    for row in range(0, N_USERS - 1, 9):
        user = f"u{row:04}"
        answer = call(ours, user=user, page_size=10)
        best = {result.item_id: result.score for result in call(exact, user=user, page_size=10).results}
        n_shared += sum(result.score >= min(best.values()) - 1e-4 for result in answer.results)
        predicted = ours.recommender.Predict(
            PredictRequest(user=User(user_id=user), item_ids=[result.item_id for result in answer.results])
        )
        ratings = [result.predicted_rating for result in answer.results]
        np.testing.assert_allclose(ratings, predicted.ratings, atol=1e-5)
    assert n_shared >= 0.95 * 110


def test_one_page_continues_another(films, serve):
    api = serve(films, approximate=True)
    whole = call(api, page_size=100)
    pages, token = [], ""
    while len(pages) < 100:
        page = call(api, page_size=20, page_token=token)
        pages += page.results
        token = page.next_page_token
    assert [result.item_id for result in pages] == [result.item_id for result in whole.results]


def test_a_server_that_is_not_told_to_is_exact_and_needs_no_faiss(indexed_version, films, serve, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    api = serve(films)
    bundle = open_version_directory(indexed_version)
    engine = Engine(bundle, [CPU], must_use_first=True)
    query = Served.query(type("VersionDirectory", (), {"bundle": bundle})(), 5)
    exact = DirectTopK(engine, N_ITEMS, 1).one(query)
    assert [int(result.item_id[1:]) for result in call(api, page_size=10).results] == exact.rows.tolist()


def test_a_version_without_an_index_is_served_exactly_beside_one_with(
    indexed_version, dot_version, tmp_path, versions, serve
):
    for version in (indexed_version, dot_version):
        versions.copy(version, tmp_path)
    ours, exact = serve(tmp_path, approximate=True), serve(tmp_path)
    model = ModelRef(name="dot")
    answers = [call(api, user="u005", model=model, page_size=10) for api in (ours, exact)]
    assert scores(answers[0]) == scores(answers[1])


def test_the_flag_without_the_extra_says_what_to_install(films, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cofactor\[approximate\]'"):
        create_server(ServerConfig(models=str(films), port=0, approximate=True))


def other_index(path, indexed_version):
    index = faiss.read_index(str(indexed_version / "candidates.faiss"))
    index.remove_ids(np.arange(10))
    faiss.write_index(index, str(path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, _: path.write_bytes(path.read_bytes()[:5000]), "its index cannot be read"),
        (lambda path, _: faiss.write_index(faiss.IndexFlatIP(16), str(path)), "not one of its 6000 items"),
        (other_index, "not one of its 6000 items"),
    ],
    ids=["cut off", "another kind", "of fewer items"],
)
def test_an_index_that_does_not_fit_is_refused_without_telling_paths(
    damage, message, indexed_version, tmp_path, versions
):
    version = versions.copy(indexed_version, tmp_path)
    damage(version / "candidates.faiss", indexed_version)
    versions.write(version, versions.read(version))
    with pytest.raises(ModelRefused, match=message) as refused:
        CandidateIndex(open_version_directory(version))
    assert str(tmp_path) not in str(refused.value)


def test_an_index_is_verified_like_every_file(indexed_version, tmp_path):
    version = tmp_path / "films" / "1"
    shutil.copytree(indexed_version, version)
    with (version / "candidates.faiss").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    with pytest.raises(ModelRefused, match=r"candidates.faiss does not match its checksum"):
        open_version_directory(version)


def test_an_index_without_a_checksum_is_refused(indexed_version, tmp_path, versions):
    version = versions.copy(indexed_version, tmp_path)
    manifest = versions.read(version)
    (version / "candidates.faiss").unlink()
    versions.write(version, manifest)
    with pytest.raises(ModelRefused, match=r"manifest.json has no checksum of candidates.faiss"):
        open_version_directory(version)
