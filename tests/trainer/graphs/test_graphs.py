"""The exported graphs compute the same as numpy at every size, and avoid the known problems of ONNX Runtime."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from cofactor_trainer.export.verification.parity import cpu_session
from cofactor_trainer.graphs.graph_specs import predict_spec, recommend_spec, similar_items_spec
from cofactor_trainer.graphs.item_columns import RecommendColumnwise, build_item_columns
from cofactor_trainer.graphs.onnx_writer import write_graph
from cofactor_trainer.graphs.recommend import Recommend
from cofactor_trainer.graphs.recommend_blockwise import RecommendBlockwise
from cofactor_trainer.graphs.scorer import Scorer
from tests.support.exported_graphs import best_by_numpy, export_graph, query
from tests.support.synthetic import make_dataset, make_model

N_LARGE = 70_000


@pytest.fixture(scope="module")
def large():
    model = make_model(n_items=N_LARGE)
    return model, np.log1p(np.random.default_rng(0).integers(0, 1000, N_LARGE + 1)).astype(np.float32)


def columns_of(model, popularity):
    norms = np.linalg.norm(model.item_factors, axis=1)
    inverse = (1 / np.maximum(norms, 1e-9)).astype(np.float32)
    return build_item_columns(model.item_factors, model.item_bias, popularity, inverse)


def export_large_recommend(folder, model, popularity):
    """Export the graph of a large catalogue, which has one branch for one user and another for several."""
    scorer, weights, columns = Scorer(model), torch.from_numpy(popularity), columns_of(model, popularity)
    single = RecommendColumnwise(scorer, weights, torch.from_numpy(columns))
    spec = recommend_spec(scorer, RecommendBlockwise(scorer, weights), single)
    return export_graph(folder, "recommend", spec, model, popularity, item_columns=columns)


@pytest.fixture(scope="module")
def large_path(large, tmp_path_factory):
    return export_large_recommend(tmp_path_factory.mktemp("large"), *large)


@pytest.fixture(scope="module", params=["plain", "large"])
def large_recommend(request, large, large_path, tmp_path_factory):
    if request.param == "large":
        return cpu_session(large_path)
    model, popularity = large
    scorer = Scorer(model)
    spec = recommend_spec(scorer, Recommend(scorer, torch.from_numpy(popularity)))
    return cpu_session(export_graph(tmp_path_factory.mktemp("plain"), "recommend", spec, model, popularity))


@pytest.mark.parametrize(("users", "k", "weight"), [([3], 10, 0.0), ([0, 1, 40], 1, 1.0), ([7, 7], 1000, -0.5)])
def test_recommend_finds_the_exact_best_of_a_large_catalogue(large, large_recommend, users, k, weight):
    model, popularity = large
    inputs = query(model, users, excluded=(5, 60_000, N_LARGE, N_LARGE), k=k, weight=weight)
    rows, scores, _ = large_recommend.run(None, inputs)
    expected = best_by_numpy(model, popularity, inputs)
    assert rows.shape == expected.shape
    assert np.mean(rows == expected) > 0.99  # float32 may swap items of nearly equal scores
    assert np.all(np.diff(scores, axis=1) <= 0)


@pytest.mark.parametrize("users", [[2], [2, 3]])
def test_recommend_from_a_large_catalogue_with_all_but_three_items_excluded(large, large_recommend, users):
    model, _ = large
    left = {17, 130, 69_999}
    excluded = tuple(row for row in range(N_LARGE) if row not in left)
    rows, scores, ratings = large_recommend.run(None, query(model, users, excluded=excluded, k=300))
    for user in range(len(users)):
        assert set(rows[user, :3]) == left
        assert len(set(rows[user])) == 300
    assert np.all(scores[:, :3] > -1e29)
    assert np.all(scores[:, 3:] < -1e29)
    assert rows.max() < N_LARGE
    assert np.isfinite(ratings).all()


@pytest.mark.parametrize("users", [[2], [2, 3]])
def test_recommend_from_a_large_catalogue_with_all_items_excluded(large, large_recommend, users):
    model, _ = large
    rows, scores, _ = large_recommend.run(None, query(model, users, excluded=tuple(range(N_LARGE)), k=7))
    assert rows.tolist() == [list(range(7))] * len(users)
    assert np.all(scores < -1e29)


def test_every_user_of_a_batch_has_excluded_items_of_their_own(large, large_recommend):
    model, popularity = large
    inputs = query(model, [1, 2, 3], k=20, weight=1.0)
    best = best_by_numpy(model, popularity, inputs)
    inputs["excluded_rows"] = np.stack([best[0, ::2], best[1, 1::2], np.full(10, N_LARGE)])
    rows, _, _ = large_recommend.run(None, inputs)
    assert np.array_equal(rows, best_by_numpy(model, popularity, inputs))


def test_onnx_runtime_makes_no_new_table_from_those_of_a_large_graph(large_path, tmp_path):
    """The optimised graph holds the same tables: none was transposed, sliced or concatenated into a new one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    onnxruntime.InferenceSession(large_path, options, providers=["CPUExecutionProvider"])
    large_tensors = []
    for path in (large_path, tmp_path / "optimised.onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        branches = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
        assert len(branches) == 2
        tensors = [tensor for part in (graph, *branches) for tensor in part.initializer]
        large_tensors.append(sorted(tuple(tensor.dims) for tensor in tensors if np.prod(tensor.dims) > 1000))
    assert large_tensors[0] == large_tensors[1]


@pytest.fixture(scope="module", params=[120, N_LARGE])
def recommend_with_equal_scores(request, tmp_path_factory):
    """Model in which every item has the same score, except row 100, whose score is higher."""
    model = make_model(n_items=request.param)
    model.item_factors[:] = 0
    model.item_bias[:] = 0
    model.item_bias[100] = 1
    scorer, popularity = Scorer(model), np.zeros(request.param + 1, dtype=np.float32)
    folder = tmp_path_factory.mktemp("equal")
    if request.param == N_LARGE:
        return model, cpu_session(export_large_recommend(folder, model, popularity))
    spec = recommend_spec(scorer, Recommend(scorer, torch.from_numpy(popularity)))
    return model, cpu_session(export_graph(folder, "recommend", spec, model, popularity))


@pytest.mark.parametrize("users", [[0], [0, 1]])
def test_items_of_equal_score_come_in_the_order_of_rows(recommend_with_equal_scores, users):
    model, session = recommend_with_equal_scores
    rows, _, _ = session.run(None, query(model, users, excluded=(0, 2), k=6))
    assert rows.tolist() == [[100, 1, 3, 4, 5, 6]] * len(users)


@pytest.mark.parametrize("users", [[0], [0, 1]])
def test_the_unknown_item_is_never_recommended(recommend_with_equal_scores, users):
    model, session = recommend_with_equal_scores
    n_items = len(model.item_bias) - 1
    rows, _, _ = session.run(None, query(model, users, k=min(n_items, 1000)))
    assert n_items not in rows


@pytest.mark.parametrize("by_column", [False, True])
def test_similar_items_of_a_large_catalogue_equal_those_of_numpy(large, tmp_path, by_column):
    model, popularity = large
    norms = np.linalg.norm(model.item_factors, axis=1)
    columns = columns_of(model, popularity)
    spec = similar_items_spec(
        Scorer(model),
        torch.from_numpy((1 / norms).astype(np.float32)),
        torch.from_numpy(columns) if by_column else None,
    )
    path = export_graph(tmp_path, "similar_items", spec, model, popularity, item_columns=columns)
    session = cpu_session(path)
    inputs = {"item_rows": np.array([4, 9]), "excluded_rows": np.array([11]), "k": np.array([20])}
    rows, scores = session.run(None, inputs)
    unit = model.item_factors / norms[:, None]
    mean = unit[[4, 9]].mean(0)
    cosine = unit[:-1] @ mean / np.linalg.norm(mean)
    cosine[[4, 9, 11]] = -np.inf
    assert rows.tolist() == np.argsort(-cosine, kind="stable")[:20].tolist()
    assert np.allclose(scores, cosine[rows], atol=1e-5)


def test_a_batch_gives_the_same_as_its_users_alone(large, large_recommend):
    model, _ = large
    batched = large_recommend.run(None, query(model, [1, 2, 3], excluded=(9,), k=15))
    for position, user in enumerate([1, 2, 3]):
        alone = large_recommend.run(None, query(model, [user], excluded=(9,), k=15))
        assert np.array_equal(alone[0][0], batched[0][position])
        assert np.allclose(alone[1][0], batched[1][position], atol=1e-5)


def graphs_of(version):
    return {path.stem: onnx.load(path, load_external_data=False) for path in sorted(version.glob("*.onnx"))}


@pytest.fixture(scope="module", params=["dot_version", "net_version", "hybrid_version", "profile_version"])
def version(request):
    return request.getfixturevalue(request.param)


def test_graphs_are_opset_18_and_of_moderate_size(version):
    for name, graph in graphs_of(version).items():
        assert graph.opset_import[0].version == 18
        assert len(graph.graph.node) < (700 if name.startswith("embed_") else 60), name


def test_no_graph_contains_a_copy_of_a_table(version):
    dataset = make_dataset()
    n_users, n_items = len(dataset.user_ids) + 1, len(dataset.catalogue.item_ids) + 1
    for name, graph in graphs_of(version).items():
        rows = n_users if name == "embed_item" else n_items  # new items are folded in from the users' rows
        for initializer in graph.graph.initializer:
            external = initializer.data_location == onnx.TensorProto.EXTERNAL
            assert external == (rows in initializer.dims), (name, initializer.name)
        assert (version / f"{name}.onnx").stat().st_size < 100_000


def test_onnx_runtime_makes_no_copy_of_a_table_when_it_optimises(version, tmp_path):
    """Constant folding would show as a new initializer with as many rows as the table it transposed or sliced."""
    import onnxruntime

    rows = len(make_dataset().catalogue.item_ids) + 1
    for name in graphs_of(version):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_prepacking", "1")
        onnxruntime.InferenceSession(version / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(tmp_path / f"{name}.onnx", load_external_data=False)
        tables = [tuple(item.dims) for item in optimised.graph.initializer if rows in item.dims]
        before = graphs_of(version)[name].graph.initializer
        assert len(tables) == sum(rows in item.dims for item in before), name


def test_no_matrix_product_has_an_operand_of_rank_1(version):
    for name, graph in graphs_of(version).items():
        inferred = onnx.shape_inference.infer_shapes(graph)
        values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
        ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
        ranks |= {item.name: len(item.dims) for item in inferred.graph.initializer}
        products = [node for node in graph.graph.node if node.op_type == "MatMul"]
        for node in products:
            assert all(ranks.get(operand, 2) >= 2 for operand in node.input), (name, node.name)


def test_a_free_dimension_that_becomes_constant_is_refused(tmp_path, large):
    class Fixed(torch.nn.Module):
        def forward(self, user_factors, user_bias, item_rows):
            size = len(user_bias)
            return user_factors.sum(1).reshape(size, -1)[:, 0] + user_bias + item_rows, user_bias

    spec = replace(predict_spec(Scorer(make_model())), module=Fixed())
    with pytest.raises(Exception, match=r"constant|specialized"):
        write_graph(spec, tmp_path / "fixed.onnx", {}, "tables.bin")
