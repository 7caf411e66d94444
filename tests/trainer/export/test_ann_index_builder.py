"""The recall of a candidate index is measured against exact rankings, and a worse index has a lower recall."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.export.ann_index.builder import build_index
from cofactor_trainer.export.ann_index.recall import (
    TARGET_RECALL,
    choose_probe_count,
    draw_recall_sample,
    measure_index_recall,
)
from cofactor_trainer.export.ann_index.vectors import item_vectors, query_vectors
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.scoring.trained_model import Order
from tests.support import synthetic

N_ITEMS = 6000
WEIGHTS = (0.0, 1.0)
ORDERS = tuple(Order(popularity_weight=weight) for weight in WEIGHTS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    faiss.omp_set_num_threads(1)


@pytest.fixture(scope="module")
def tables(indexed_version):
    return {name: np.asarray(table) for name, table in read_version(indexed_version).tables.items()}


@pytest.fixture(scope="module")
def index(indexed_version):
    return faiss.read_index(str(indexed_version / "candidates.faiss"))


def recall(index, tables, sample, probe_count, order):
    parameters = faiss.SearchParametersIVF(nprobe=probe_count)
    return measure_index_recall(index, parameters, tables, sample, order)


def export_indexed(folder, model, dataset):
    return export_version(model, dataset, folder, "m", "1", metrics={}, hyperparameters={}, approximate=True)


def test_the_product_of_item_and_query_vector_is_the_score(tables):
    users, rows = tables["user_factors"][:3], np.array([0, 7, N_ITEMS - 1])
    products = query_vectors(users, Order(popularity_weight=-0.5)) @ item_vectors(tables, rows).T
    scores = users @ tables["item_factors"][rows].T + tables["item_bias"][rows]
    np.testing.assert_allclose(products, scores - 0.5 * tables["item_log_popularity"][rows], atol=1e-5)


def test_the_manifest_has_the_recall_of_the_index_and_how_to_query_it(indexed_version, tables, index):
    manifest = read_version(indexed_version).manifest
    entry = manifest.approximate_index
    assert entry.path in {file.path for file in manifest.files}  # so it has a checksum
    assert list(entry.popularity_weights) == list(WEIGHTS)
    assert index.ntotal == N_ITEMS
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    sample = draw_recall_sample(tables, ORDERS)
    measured = [recall(index, tables, sample, entry.probe_count, order) for order in ORDERS]
    for k, target in TARGET_RECALL.items():
        stated = manifest.metrics[f"approximate_recall@{k}"]
        assert stated == pytest.approx(min(recalls[k] for recalls in measured))
        assert target <= stated <= 1


def test_three_quarters_of_the_probes_miss_the_target(indexed_version, tables, index):
    fewer = read_version(indexed_version).manifest.approximate_index.probe_count * 3 // 4
    assert 1 <= fewer < index.nlist
    sample = draw_recall_sample(tables, ORDERS)
    measured = [recall(index, tables, sample, fewer, order) for order in ORDERS]
    assert any(min(recalls[k] for recalls in measured) < target for k, target in TARGET_RECALL.items())


@pytest.mark.parametrize(("needed", "n_clusters"), [(1, 1), (1, 50), (2, 50), (37, 1000), (700, 1000), (1000, 1000)])
def test_the_probe_count_is_about_the_lowest_that_reaches_the_target(needed, n_clusters):
    measured = []

    def measure(probe_count):
        measured.append(probe_count)
        return {10: 0.995 if probe_count >= needed else 0.9, 100: 0.96}

    probe_count, found = choose_probe_count(measure, n_clusters)
    assert needed <= probe_count <= needed + needed // 7 + 1
    assert found[10] == 0.995
    assert len(measured) < 20


def test_all_clusters_are_probed_if_no_number_reaches_the_target():
    assert choose_probe_count(lambda _: {10: 0.9, 100: 0.9}, 40) == (40, {10: 0.9, 100: 0.9})


def test_the_exact_rankings_leave_out_rated_items(tables):
    sample = draw_recall_sample(tables, ORDERS)
    user, order = 5, ORDERS[1]
    scores = tables["item_factors"][:-1] @ sample.factors[order][user] + tables["item_bias"][:-1]
    scores = scores + order.popularity_weight * tables["item_log_popularity"][:-1]
    scores = np.sort(np.delete(scores, sample.rated[user]))[::-1]
    assert len(sample.rated[user]) > 10
    for k in TARGET_RECALL:
        assert sample.thresholds[order, k][user] == pytest.approx(scores[k - 1], abs=1e-5)


def test_a_damaged_index_measures_a_lower_recall(indexed_version, tables, index):
    """With half of the items removed, it finds half of the best ones."""
    probe_count = read_version(indexed_version).manifest.approximate_index.probe_count
    damaged = faiss.clone_index(index)
    damaged.remove_ids(np.arange(0, N_ITEMS, 2))
    sample = draw_recall_sample(tables, ORDERS)
    for order in ORDERS:
        measured = recall(damaged, tables, sample, probe_count, order)
        assert all(0.3 < value < 0.7 for value in measured.values()), measured


def test_clusters_by_inner_product_would_lose_popular_items(tables, index):
    """Items are not assigned by inner product, because few would be found at popularity weight 1."""
    vectors = item_vectors(tables, slice(0, N_ITEMS))
    kmeans = faiss.Kmeans(vectors.shape[1], index.nlist, niter=6, spherical=True, min_points_per_centroid=1, seed=1)
    kmeans.train(vectors)
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    quantizer.add(kmeans.centroids)
    angular = faiss.IndexIVFFlat(quantizer, vectors.shape[1], index.nlist, faiss.METRIC_INNER_PRODUCT)
    angular.train(vectors)
    angular.add(vectors)
    sample, n_probes = draw_recall_sample(tables, [ORDERS[1]]), index.nlist // 16
    assert (
        recall(index, tables, sample, n_probes, ORDERS[1])[10]
        > recall(angular, tables, sample, n_probes, ORDERS[1])[10] + 0.2
    )


def test_building_the_index_is_reproducible(tables, index):
    again = build_index(tables)
    assert np.array_equal(faiss.serialize_index(again), faiss.serialize_index(index))


def test_a_tiny_ranking_model_has_an_index_for_its_single_popularity_weight(tmp_path):
    """It has three items, and users who rated all of them."""
    model = synthetic.make_model(n_items=3, n_users=2, objective="ranking", rating_range=None)
    dataset = synthetic.make_dataset(n_items=3, n_users=2, ratings_per_user=3)
    manifest = read_version(export_indexed(tmp_path, model, dataset)).manifest
    assert list(manifest.approximate_index.popularity_weights) == [0]
    assert manifest.metrics["approximate_recall@10"] == 1


def test_a_network_cannot_have_an_index(tmp_path):
    with pytest.raises(ValueError, match="only a dot-product model can have an index, not a hybrid"):
        export_indexed(tmp_path, synthetic.make_model("hybrid"), synthetic.make_dataset())


@pytest.mark.parametrize("flag", ["--approximate", "--quantize=int8"])
def test_the_command_refuses_a_network_before_training(flag, tmp_path, capsys):
    assert main(["--dataset", str(tmp_path / "absent"), "--recipe", "hybrid", flag]) == 2
    assert f"{flag.partition('=')[0]} is for dot products only" in capsys.readouterr().err


def test_the_command_names_the_extra_before_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert main(["--dataset", str(tmp_path / "absent"), "--recipe", "fast", "--approximate"]) == 2
    assert "pip install 'cofactor[approximate]'" in capsys.readouterr().err
