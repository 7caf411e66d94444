"""Test that Recommend from an index has exact scores, respects exclusions and falls back to the exact top k."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import PredictRequest, RecommendRequest, User
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError, ModelRefused
from cofactor_server.inference.ann_index import AnnIndex, ApproximateTopK
from cofactor_server.inference.catalogue_top_k import CatalogueTopK
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order, Orders
from cofactor_server.ranking.ranker import TopKQuery, UserVector
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_server.server import create_server
from cofactor_trainer.export.version_writer import export_version
from tests.support import synthetic
from tests.support.expected import ratings_of

N_ITEMS = 6000
N_USERS = 100


@pytest.fixture(scope="module")
def films(indexed_version, tmp_path_factory, versions):
    """Return a model repository with the indexed version only."""
    models = tmp_path_factory.mktemp("films")
    versions.copy(indexed_version, models)
    return models


class CountingTopK:
    """Exact top k that counts its queries."""

    def __init__(self, exact):
        self.exact, self.n_queries = exact, 0

    def find(self, query):
        self.n_queries += 1
        return self.exact.find(query)

    def find_many(self, queries):
        self.n_queries += len(queries)
        return self.exact.find_many(queries)


class BothTopK:
    """Approximate and exact top k of one version."""

    def __init__(self, version):
        self.directory = open_version_directory(version)
        engine = Engine(self.directory, [CPU], must_use_first=True)
        scorer = ItemScorer(engine, self.directory.tables, self.directory.manifest.ranking_factor_count)
        self.exact = CountingTopK(CatalogueTopK(engine, N_ITEMS, 16))
        self.approximate = ApproximateTopK(self.directory, self.exact, scorer)

    def query(self, row, k=10, weight=1.0, excluded=None):
        tables = self.directory.tables
        if excluded is None:
            start, end = tables["rated.offsets"][row : row + 2]
            excluded = tables["rated.item_rows"][start:end].astype(np.int64)
        user = UserVector(tables["user_factors"][row : row + 1], tables["user_bias"][row : row + 1])
        return TopKQuery(user, Order(popularity_weight=weight), np.asarray(excluded, dtype=np.int64), k)

    def from_index(self, query):
        """Return the ranking, and check that the exact top k was not asked."""
        before = self.exact.n_queries
        ranking = self.approximate.find(query)
        assert self.exact.n_queries == before
        return ranking


@pytest.fixture(scope="module")
def top_k(indexed_version):
    return BothTopK(indexed_version)


def same(one, other):
    return np.array_equal(one.rows, other.rows) and np.allclose(one.scores, other.scores, atol=1e-5)


def overlap(one, other):
    return len(np.intersect1d(one.rows, other.rows)) / len(other.rows)


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("k", [10, 100])
def test_recall_is_as_the_manifest_states(top_k, k, weight):
    found = []
    for row in range(N_USERS):
        query = top_k.query(row, k, weight)
        exact, ours = top_k.exact.find(query), top_k.from_index(query)
        # By score, not by row: a duplicate of the last item has the same score.
        found.append(np.mean(ours.scores >= exact.scores[-1] - 1e-5))
    assert np.mean(found) >= top_k.directory.manifest.metrics[f"approximate_recall@{k}"] - 1e-6


def test_results_have_exact_scores_and_ratings_and_equal_scores_are_ranked_by_row(top_k):
    tables = top_k.directory.tables
    for row in range(20):
        query = top_k.query(row, 100)
        ours = top_k.from_index(query)
        logits = tables["item_factors"][ours.rows] @ query.user.factors[0] + tables["item_bias"][ours.rows]
        logits = logits + query.user.bias[0] + top_k.directory.manifest.global_bias
        np.testing.assert_allclose(ours.scores, logits + tables["item_log_popularity"][ours.rows], atol=1e-5)
        np.testing.assert_allclose(ours.ratings, ratings_of(logits), atol=1e-5)
        order = np.lexsort((ours.rows, -ours.scores))
        assert np.array_equal(order, np.arange(100))
        pairs = ours.rows[0::2] // 2  # duplicates are neighbours, unless the page ends between them
        assert np.mean(pairs == ours.rows[1::2] // 2) > 0.9


@pytest.mark.parametrize("n_excluded", [0, 1, 100, 256, 257, 3000, N_ITEMS - 50])
def test_excluded_items_are_never_returned_even_if_they_are_the_best(top_k, n_excluded):
    everything = top_k.exact.find(top_k.query(3, N_ITEMS, excluded=[]))
    excluded = np.sort(everything.rows[:n_excluded])
    ours = top_k.approximate.find(top_k.query(3, 50, excluded=excluded))
    assert len(ours.rows) == 50
    assert not np.isin(ours.rows, excluded).any()
    assert overlap(ours, top_k.exact.find(top_k.query(3, 50, excluded=excluded))) > 0.8


def test_excluded_items_that_are_not_among_the_best_need_no_exact_run(top_k):
    worst = top_k.exact.find(top_k.query(3, N_ITEMS, excluded=[])).rows[2000:]
    assert (
        overlap(top_k.from_index(top_k.query(3, 50, excluded=np.sort(worst))), top_k.exact.find(top_k.query(3, 50)))
        > 0.8
    )


@pytest.mark.parametrize(
    ("k", "weight"),
    [
        (101, 1.0),
        (10, 0.5),
        (10, -2.0),
    ],
    ids=["k over the measured one", "another weight", "a negative weight"],
)
def test_queries_without_measured_recall_are_exact(top_k, k, weight):
    query = top_k.query(2, k, weight)
    before = top_k.exact.n_queries
    ranking = top_k.approximate.find(query)
    assert top_k.exact.n_queries == before + 1
    assert same(ranking, top_k.exact.find(query))


def test_a_query_for_more_results_than_the_index_finds_is_exact(indexed_version, tmp_path, versions):
    version = versions.copy(indexed_version, tmp_path)
    manifest = versions.read(version)
    manifest.approximate_index.probe_count = 1
    versions.write(version, manifest)
    narrow = BothTopK(version)
    query = narrow.query(1, 100)
    assert len(AnnIndex(narrow.directory).candidates(query.user.factors, query.order, 1000)) < 100
    assert same(narrow.approximate.find(query), narrow.exact.find(query))
    assert narrow.exact.n_queries == 2


def test_find_many_equals_find_one_by_one(top_k):
    queries = [top_k.query(row, k, weight) for row, k, weight in [(0, 5, 1.0), (1, 200, 1.0), (2, 9, 0.3), (3, 7, 0)]]
    for ranking, query in zip(top_k.approximate.find_many(queries), queries, strict=True):
        assert same(ranking, top_k.approximate.find(query))


def test_threads_get_their_own_rankings(top_k):
    queries = [top_k.query(row, 10, weight) for row in range(N_USERS) for weight in (0.0, 1.0)]
    alone = [top_k.approximate.find(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(top_k.approximate.find, queries * 3))
    assert all(same(one, other) for one, other in zip(together, alone * 3, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_index_is_mapped_and_not_copied(indexed_version):
    index = AnnIndex(open_version_directory(indexed_version))
    assert "candidates.faiss" in Path("/proc/self/maps").read_text()
    del index


def call(api, **fields):
    user = fields.pop("user", "u0005")
    return api.recommender.Recommend(RecommendRequest(user=User(user_id=user), **fields), timeout=20)


def scores(response):
    return [(result.item_id, pytest.approx(result.score, abs=1e-4)) for result in response.results]


def test_a_server_with_the_flag_recommends_from_the_index(films, serve):
    ours, exact = serve(films, approximate=True), serve(films)
    assert ours.catalog.GetModel(GetModelRequest()).model.metrics["approximate_recall@10"] >= 0.99
    n_shared = 0
    for row in range(0, N_USERS - 1, 9):
        user = f"u{row:04}"
        response = call(ours, user=user, page_size=10)
        best = {result.item_id: result.score for result in call(exact, user=user, page_size=10).results}
        n_shared += sum(result.score >= min(best.values()) - 1e-4 for result in response.results)
        predicted = ours.recommender.Predict(
            PredictRequest(user=User(user_id=user), item_ids=[result.item_id for result in response.results])
        )
        ratings = [result.predicted_rating for result in response.results]
        np.testing.assert_allclose(ratings, predicted.ratings, atol=1e-5)
    assert n_shared >= 0.95 * 110


def test_pages_add_up_to_the_whole_ranking(films, serve):
    api = serve(films, approximate=True)
    whole = call(api, page_size=100)
    pages, token = [], ""
    while len(pages) < 100:
        page = call(api, page_size=20, page_token=token)
        pages += page.results
        token = page.next_page_token
    assert [result.item_id for result in pages] == [result.item_id for result in whole.results]


def test_a_server_without_the_flag_is_exact_and_needs_no_faiss(indexed_version, films, serve, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    api = serve(films)
    directory = open_version_directory(indexed_version)
    engine = Engine(directory, [CPU], must_use_first=True)
    query = BothTopK.query(SimpleNamespace(directory=directory), 5)
    exact = CatalogueTopK(engine, N_ITEMS, 1).find(query)
    assert [int(result.item_id[1:]) for result in call(api, page_size=10).results] == exact.rows.tolist()


def test_a_version_without_an_index_is_served_exactly_beside_one_with(
    indexed_version, dot_version, tmp_path, versions, serve
):
    for version in (indexed_version, dot_version):
        versions.copy(version, tmp_path)
    ours, exact = serve(tmp_path, approximate=True), serve(tmp_path)
    model = ModelRef(name="dot")
    responses = [call(api, user="u005", model=model, page_size=10) for api in (ours, exact)]
    assert scores(responses[0]) == scores(responses[1])


def test_the_flag_without_faiss_names_the_extra_to_install(films, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cofactor\[approximate\]'"):
        create_server(ServerConfig(models=str(films), port=0, approximate=True))


def write_smaller_index(path, indexed_version):
    index = faiss.read_index(str(indexed_version / "candidates.faiss"))
    index.remove_ids(np.arange(10))
    faiss.write_index(index, str(path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, _: path.write_bytes(path.read_bytes()[:5000]), "its index cannot be read"),
        (lambda path, _: faiss.write_index(faiss.IndexFlatIP(16), str(path)), "not one of its 6000 items"),
        (write_smaller_index, "not one of its 6000 items"),
    ],
    ids=["truncated", "another kind", "fewer items"],
)
def test_an_index_that_does_not_fit_is_refused_without_naming_paths(
    damage, message, indexed_version, tmp_path, versions
):
    version = versions.copy(indexed_version, tmp_path)
    damage(version / "candidates.faiss", indexed_version)
    versions.write(version, versions.read(version))
    with pytest.raises(ModelRefused, match=message) as refused:
        AnnIndex(open_version_directory(version))
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


@pytest.fixture(scope="module")
def two_part_index(tmp_path_factory):
    """Return the approximate and the exact top k of a version with a ranking part."""
    model = synthetic.make_two_part_model(n_users=N_USERS, n_items=N_ITEMS)
    dataset = synthetic.make_dataset(n_users=N_USERS, n_items=N_ITEMS, ratings_per_user=40)
    models = tmp_path_factory.mktemp("two-part-index")
    return BothTopK(
        export_version(model, dataset, models, "two-part", "1", metrics={}, hyperparameters={}, approximate=True)
    )


def test_the_index_serves_both_orders_of_a_version_with_a_ranking_part(two_part_index):
    orders = Orders(two_part_index.directory.manifest)
    found = 0
    for row in range(30):
        query = two_part_index.query(row)
        query.order = (orders.known if row % 2 else orders.new)[0]
        approximate, exact = two_part_index.from_index(query), two_part_index.exact.find(query)
        found += len(set(approximate.rows) & set(exact.rows))
        score = dict(zip(exact.rows.tolist(), exact.scores.tolist(), strict=True))
        for item, value in zip(approximate.rows.tolist(), approximate.scores.tolist(), strict=True):
            if item in score:
                assert value == pytest.approx(score[item], abs=1e-4)
    assert found >= 0.9 * 300


def test_an_order_that_the_index_was_not_measured_with_is_exact(two_part_index):
    before = two_part_index.exact.n_queries
    orders = Orders(two_part_index.directory.manifest)
    for order in (orders.known[2], orders.known[1], orders.penalised(orders.known[0], 0.5)):
        query = two_part_index.query(3)
        query.order = order
        two_part_index.approximate.find(query)
    assert two_part_index.exact.n_queries == before + 3
