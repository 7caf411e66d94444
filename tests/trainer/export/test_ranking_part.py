"""A version with a ranking part orders by both parts, whatever its architecture and the size of its catalogue."""

import numpy as np
import pytest
from onnx import load

from cofactor_trainer.evaluation.evaluate import top_k_rows
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits, predict_logits, score_all
from cofactor_trainer.scoring.ranking_part import rating_part
from cofactor_trainer.scoring.trained_model import BY_RATING, Order
from tests.support.synthetic import make_dataset, make_two_part_model, with_profiles

ARCHITECTURES = ("dot-product", "neural-network", "hybrid")
N_LARGE = 51_000


@pytest.fixture(scope="module", params=ARCHITECTURES)
def small(request, tmp_path_factory):
    model = make_two_part_model(request.param)
    return model, export(tmp_path_factory.mktemp("small"), model, with_profiles(make_dataset()))


def export(folder, model, dataset, **options):
    return read_version(export_version(model, dataset, folder, "m", "1", metrics={}, hyperparameters={}, **options))


def recommend(version, model, users, order, k=10):
    """Run graph recommend for users of the training data, without excluded items."""
    n_users = len(users)
    return version.run(
        "recommend",
        user_factors=model.user_factors[users],
        user_bias=model.user_bias[users],
        popularity_weight=np.full(n_users, order.popularity_weight, np.float32),
        order_weights=np.tile(np.float32([order.rating_weight, order.ranking_weight]), (n_users, 1)),
        excluded_rows=np.full((n_users, 1), len(model.item_bias) - 1),
        k=np.array([k]),
    )


ORDERS = {
    "own": Order(0.25, 1.0),
    "ranking alone": Order(0.0, 1.0),
    "rating": BY_RATING,
    "rating with popularity": Order(1.0, 0.0, 1.0),
    "new users": Order(0.5, 1.0, -0.1),
}


@pytest.mark.parametrize("users", [[3], [0, 1, 5]])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_recommend_orders_by_the_weighted_sum_of_both_logits(small, order, users):
    model, version = small
    found = recommend(version, model, users, order)
    scores = score_all(model, np.array(users), order)
    scores += order.popularity_weight * version.tables["item_log_popularity"][:-1]
    assert found["item_rows"].tolist() == top_k_rows(scores, 10).tolist()
    np.testing.assert_allclose(found["scores"], np.take_along_axis(scores, found["item_rows"], 1), atol=1e-4)
    logits = np.take_along_axis(predict_all_logits(model, np.array(users)), found["item_rows"], 1)
    np.testing.assert_allclose(found["ratings"], 0.5 + 5 / (1 + np.exp(-logits)), atol=1e-4)


def test_users_of_one_run_may_have_different_orders(small):
    model, version = small
    orders = [BY_RATING, Order(0.0, 1.0), Order(0.25, 1.0)]
    together = version.run(
        "recommend",
        user_factors=model.user_factors[:3],
        user_bias=model.user_bias[:3],
        popularity_weight=np.zeros(3, np.float32),
        order_weights=np.float32([[order.rating_weight, order.ranking_weight] for order in orders]),
        excluded_rows=np.full((3, 1), len(model.item_bias) - 1),
        k=np.array([10]),
    )
    for user, order in enumerate(orders):
        alone = recommend(version, model, [user], order)
        assert together["item_rows"][user].tolist() == alone["item_rows"][0].tolist()


def test_predictions_do_not_read_the_ranking_part(small):
    model, version = small
    users, items = np.arange(20), np.arange(20) * 3
    expected = predict_logits(rating_part(model), users, items)
    np.testing.assert_allclose(predict_logits(model, users, items), expected, atol=1e-6)
    found = version.run(
        "predict", user_factors=model.user_factors[users], user_bias=model.user_bias[users], item_rows=items
    )
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5)


def test_similar_items_compare_all_factors_but_the_bias_of_the_ranking(small):
    model, version = small
    factors = model.item_factors[:-1, :-1]
    units = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    found = version.run("similar_items", item_rows=np.array([4]), excluded_rows=np.array([120]), k=np.array([5]))
    cosines = units @ units[4]
    cosines[4] = -2
    assert found["similar_rows"].tolist() == np.argsort(-cosines)[:5].tolist()
    np.testing.assert_allclose(found["scores"], np.sort(cosines)[::-1][:5], atol=1e-5)


def test_a_new_user_gets_both_parts(small):
    model, version = small
    profile = {"profile": np.zeros((1, 4), np.float32)} if version.manifest.profile_features else {}
    found = version.run("embed_user", item_rows=np.array([[3, 7, 9]]), ratings=np.float32([[5, 1, 4]]), **profile)
    assert found["user_factors"].shape == (1, model.user_factors.shape[1])
    assert found["user_factors"][0, -1] == 1
    assert np.ptp(found["user_factors"][0, -7:-1]) > 0


def test_the_manifest_describes_the_ranking_part(small):
    model, version = small
    manifest = version.manifest
    assert (manifest.format_version, manifest.ranking_factor_count) == (2, 7)
    assert manifest.default_order.rating_weight == np.float32(model.order.rating_weight)
    assert manifest.new_user_order.popularity_weight == np.float32(-0.1)
    rated = version.tables["item_log_popularity"][:-1] > 0
    popularity = version.tables["item_log_popularity"][:-1][rated]
    for order, slope in (
        (BY_RATING, manifest.rating_popularity_slope),
        (Order(0.0, 1.0), manifest.ranking_popularity_slope),
    ):
        average = score_all(model, np.array([len(model.user_bias) - 1]), order)[0][rated]
        assert slope == pytest.approx(np.polyfit(popularity, average, 1)[0], abs=1e-4)


def test_a_version_without_a_ranking_part_keeps_the_first_format(dot_version):
    manifest = read_version(dot_version).manifest
    assert (manifest.format_version, manifest.ranking_factor_count) == (1, 0)
    assert not manifest.HasField("default_order")


def test_a_network_is_left_out_of_runs_that_do_not_weigh_the_rating(tmp_path):
    version = export(tmp_path, make_two_part_model("neural-network"), make_dataset())
    nodes = {node.op_type: node for node in load(version.path / "recommend.onnx", load_external_data=False).graph.node}
    branches = {attribute.name: attribute.g for attribute in nodes["If"].attribute}
    products = {
        name: sum(node.op_type in ("MatMul", "Gemm") for node in graph.node) for name, graph in branches.items()
    }
    # Both compute the ratings of the best items by the network; only one computes those of the whole catalogue.
    assert products["then_branch"] < products["else_branch"]


@pytest.mark.parametrize("options", [{}, {"quantize_to": "int8"}, {"approximate": True}], ids=str)
def test_a_large_catalogue_exports(tmp_path, options):
    model = make_two_part_model(n_users=60, n_items=N_LARGE)
    version = export(tmp_path, model, make_dataset(60, N_LARGE), **options)
    order = model.order
    exact = top_k_rows(score_all(model, np.arange(3), order), 10)
    together = recommend(version, model, [0, 1, 2], order)
    assert together["item_rows"].tolist() == exact.tolist()
    alone = recommend(version, model, [1], order)
    assert len(np.intersect1d(alone["item_rows"][0], exact[1])) >= (9 if "quantize_to" in options else 10)
    if "approximate" in options:
        entry = version.manifest.approximate_index
        assert [round(weighted.rating_weight, 3) for weighted in entry.orders] == [0.25, 0.5]
        assert version.manifest.metrics["approximate_recall@10"] >= 0.9


def test_a_large_catalogue_of_a_network_exports(tmp_path):
    model = make_two_part_model("hybrid", n_users=20, n_items=N_LARGE)
    version = export(tmp_path, model, make_dataset(20, N_LARGE))
    order = Order(0.0, 1.0)
    found = recommend(version, model, [0, 1], order)
    assert found["item_rows"].tolist() == top_k_rows(score_all(model, np.arange(2), order), 10).tolist()
