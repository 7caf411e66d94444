"""The index of candidates: what it finds is measured against exact rankings, and a worse index measures worse."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.export import ann_index_builder as approximate
from cofactor_trainer.export.ann_index_builder import (
    audience,
    build_index,
    fewest_probes,
    item_vectors,
    query_vectors,
    recall,
)
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from tests.support import synthetic

N_ITEMS = 6000
WEIGHTS = (0.0, 1.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    faiss.omp_set_num_threads(1)


@pytest.fixture(scope="module")
def tables(indexed_version):
    return {name: np.asarray(table) for name, table in read_version(indexed_version).tables.items()}


@pytest.fixture(scope="module")
def index(indexed_version):
    return faiss.read_index(str(indexed_version / "candidates.faiss"))


def export_indexed(folder, model, dataset):
    return export_version(model, dataset, folder, "m", "1", metrics={}, hyperparameters={}, approximate=True)


def test_a_product_with_the_query_is_the_score(tables):
    users, rows = tables["user_factors"][:3], np.array([0, 7, N_ITEMS - 1])
    products = query_vectors(users, -0.5) @ item_vectors(tables, rows).T
    scores = users @ tables["item_factors"][rows].T + tables["item_bias"][rows]
    np.testing.assert_allclose(products, scores - 0.5 * tables["item_log_popularity"][rows], atol=1e-5)


def test_the_version_says_what_the_index_finds_and_how_it_is_to_be_asked(indexed_version, tables, index):
    manifest = read_version(indexed_version).manifest
    asked = manifest.approximate_index
    assert asked.path in {file.path for file in manifest.files}  # with its checksum, like every file
    assert list(asked.popularity_weights) == list(WEIGHTS)
    assert index.ntotal == N_ITEMS
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    judges = audience(tables, WEIGHTS)
    measured = [recall(index, tables, judges, asked.probe_count, weight) for weight in WEIGHTS]
    for k, target in approximate.TARGET_RECALL.items():
        stated = manifest.metrics[f"approximate_recall@{k}"]
        assert stated == pytest.approx(min(each[k] for each in measured))
        assert target <= stated <= 1


def test_it_looks_at_no_more_clusters_than_the_target_takes(indexed_version, tables, index):
    fewer = read_version(indexed_version).manifest.approximate_index.probe_count * 3 // 4
    assert 1 <= fewer < index.nlist
    judges = audience(tables, WEIGHTS)
    measured = [recall(index, tables, judges, fewer, weight) for weight in WEIGHTS]
    assert any(min(each[k] for each in measured) < target for k, target in approximate.TARGET_RECALL.items())


@pytest.mark.parametrize(("needed", "n_clusters"), [(1, 1), (1, 50), (2, 50), (37, 1000), (700, 1000), (1000, 1000)])
def test_the_clusters_to_look_at_are_about_as_few_as_suffice(needed, n_clusters):
    n_asked = []

    def measure(probe_count):
        n_asked.append(probe_count)
        return {10: 0.995 if probe_count >= needed else 0.9, 100: 0.96}

    probe_count, found = fewest_probes(measure, n_clusters)
    assert needed <= probe_count <= needed + needed // 7 + 1
    assert found[10] == 0.995
    assert len(n_asked) < 20


def test_where_no_number_of_clusters_suffices_it_looks_at_all():
    assert fewest_probes(lambda _: {10: 0.9, 100: 0.9}, 40) == (40, {10: 0.9, 100: 0.9})


def test_the_exact_rankings_it_is_judged_by_leave_out_what_users_rated(tables):
    judges = audience(tables, WEIGHTS)
    user, weight = 5, 1.0
    scores = tables["item_factors"][:-1] @ judges.factors[user] + tables["item_bias"][:-1]
    scores = scores + weight * tables["item_log_popularity"][:-1]
    scores = np.sort(np.delete(scores, judges.rated[user]))[::-1]
    assert len(judges.rated[user]) > 10
    for k in approximate.TARGET_RECALL:
        assert judges.thresholds[weight, k][user] == pytest.approx(scores[k - 1], abs=1e-5)


def test_a_damaged_index_measures_a_lower_recall(indexed_version, tables, index):
    """Half of the items are taken out: of the best, half are found."""
    probe_count = read_version(indexed_version).manifest.approximate_index.probe_count
    damaged = faiss.clone_index(index)
    damaged.remove_ids(np.arange(0, N_ITEMS, 2))
    judges = audience(tables, WEIGHTS)
    for weight in WEIGHTS:
        measured = recall(damaged, tables, judges, probe_count, weight)
        assert all(0.3 < value < 0.7 for value in measured.values()), measured


def test_clusters_of_angles_would_lose_what_is_popular(tables, index):
    """Why the items do not join the cluster of the highest product: at popularity weight 1 few would be found."""
    vectors = item_vectors(tables, slice(0, N_ITEMS))
    kmeans = faiss.Kmeans(vectors.shape[1], index.nlist, niter=6, spherical=True, min_points_per_centroid=1, seed=1)
    kmeans.train(vectors)
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    quantizer.add(kmeans.centroids)
    angular = faiss.IndexIVFFlat(quantizer, vectors.shape[1], index.nlist, faiss.METRIC_INNER_PRODUCT)
    angular.train(vectors)
    angular.add(vectors)
    judges, n_probes = audience(tables, [1.0]), index.nlist // 16
    assert recall(index, tables, judges, n_probes, 1.0)[10] > recall(angular, tables, judges, n_probes, 1.0)[10] + 0.2


def test_the_index_is_the_same_every_time(tables, index):
    again = build_index(tables)
    assert np.array_equal(faiss.serialize_index(again), faiss.serialize_index(index))


def test_a_tiny_ranking_model_is_indexed_for_the_one_weight_it_ranks_with(tmp_path):
    """Of three items, and users who rated all of them."""
    model = synthetic.make_model(n_items=3, n_users=2, objective="ranking", rating_range=None)
    dataset = synthetic.make_dataset(n_items=3, n_users=2, ratings_per_user=3)
    manifest = read_version(export_indexed(tmp_path, model, dataset)).manifest
    assert list(manifest.approximate_index.popularity_weights) == [0]
    assert manifest.metrics["approximate_recall@10"] == 1


def test_a_network_cannot_have_an_index(tmp_path):
    with pytest.raises(ValueError, match="only a dot-product model can have an index, not a hybrid"):
        export_indexed(tmp_path, synthetic.make_model("hybrid"), synthetic.make_dataset())


@pytest.mark.parametrize("flag", ["--approximate", "--quantize=int8"])
def test_the_command_refuses_a_network_before_it_trains(flag, tmp_path, capsys):
    assert main(["--dataset", str(tmp_path / "absent"), "--recipe", "hybrid", flag]) == 2
    assert f"{flag.partition('=')[0]} is for dot products only" in capsys.readouterr().err


def test_the_command_names_the_extra_before_it_trains(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert main(["--dataset", str(tmp_path / "absent"), "--recipe", "fast", "--approximate"]) == 2
    assert "pip install 'cofactor[approximate]'" in capsys.readouterr().err
