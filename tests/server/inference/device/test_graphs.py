"""Test on the CPU what serves on a device: shared tables, the device's own graph, padding, placement."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.errors import ModelRefused, ProviderUnavailable
from cofactor_server.inference import engine as engine_module
from cofactor_server.inference.device import graphs as device_graphs_module
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.device.graphs import DeviceGraphs
from cofactor_server.inference.device.placement import Trial
from cofactor_server.inference.device.recommend import DeviceRecommend, has_device_graph
from cofactor_server.inference.device.shape_buckets import BATCH_SIZES, LENGTHS, ShapeBuckets, padded_length
from cofactor_server.inference.device.tables import DeviceTables
from cofactor_server.inference.device.trial_inputs import EMBED_ITEM, TrialInputs
from cofactor_server.inference.engine import RECOMMEND_OUTPUTS, Engine
from cofactor_server.inference.execution_providers import CPU, Device
from cofactor_server.inference.golden_check import run_golden_tests
from cofactor_server.inference.sessions import load_on_cpu, load_on_device, nodes_elsewhere
from cofactor_server.repository.passing_errors import is_passing
from cofactor_server.repository.version_directory import open_version_directory
from tests.support import synthetic

N_ITEMS = synthetic.N_ITEMS
# The CPU in the place of a device: the same bindings, the same shared tables, the same graph.
PRETENDED = Device(CPU, "cpu", free_memory=lambda: None)
VERSIONS = ["dot_version", "two_part_version", "net_version", "hybrid_version", "two_part_hybrid_version"]

# Operators that ONNX Runtime's page of kernels lists for CUDA, with float and int64 in opset 17 and 18. Pad takes no
# int64: there, the graphs of small catalogues and of networks take a way over the CPU.
KERNEL_NAMES = """
    Abs Add And Cast Clip Concat ConstantOfShape Div Equal Expand Floor Gather GatherElements GatherND Gemm Greater
    Identity If Less MatMul Min Mod Mul Not Pad Range ReduceMax ReduceMean ReduceSum Relu Reshape ScatterElements Shape
    Sigmoid Slice Softmax Sqrt Sub Flatten TopK Transpose Unsqueeze Where
"""
CUDA_KERNELS = set(KERNEL_NAMES.split())


@pytest.fixture(scope="module", params=VERSIONS)
def directory(request):
    return open_version_directory(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def session(directory):
    return load_on_cpu(directory, "recommend")


@pytest.fixture(scope="module")
def on_device(directory):
    """Return graph recommend as a device runs it."""
    return DeviceGraphs(directory, PRETENDED, must_use=True).sessions["recommend"]


def has_ranking_part(directory):
    return directory.manifest.ranking_factor_count > 0


def graphs_for_devices(directory) -> list[str]:
    """Return the graphs that may run on a device; new items are folded in on the CPU."""
    return [graph.name for graph in directory.manifest.graphs if graph.name != EMBED_ITEM]


def inputs_of(directory, seed, n_users=None, n_excluded=None, k=None):
    """Return inputs with other users, exclusions and popularity weights for every seed."""
    random = np.random.default_rng(seed)
    n_users = n_users or int(random.integers(1, 40))
    rows = random.integers(0, synthetic.N_USERS, n_users)
    n_excluded = n_excluded or int(random.integers(1, 60))
    # A batch with no rating weight at all leaves the network out.
    weights = random.uniform(0, 1, (n_users, 2)).astype(np.float32) * np.array([seed % 2, 1], dtype=np.float32)
    return ({"order_weights": weights} if has_ranking_part(directory) else {}) | {
        "user_factors": directory.tables["user_factors"][rows],
        "user_bias": directory.tables["user_bias"][rows],
        "popularity_weight": random.normal(size=n_users).astype(np.float32),
        "excluded_rows": random.integers(0, N_ITEMS + 1, (n_users, n_excluded)),
        "k": np.array([k or int(random.integers(1, 50))]),
    }


def assert_same(outputs, expected):
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_recommend_on_a_device_has_the_outputs_of_the_exported_graph(directory, session, on_device):
    for seed in range(30):
        inputs = inputs_of(directory, seed)
        assert_same(on_device.run(RECOMMEND_OUTPUTS, inputs), session.run(RECOMMEND_OUTPUTS, inputs))


def test_outputs_come_in_the_requested_order(directory, on_device):
    scores, rows = on_device.run(("scores", "item_rows"), inputs_of(directory, 1))
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32


def test_outputs_and_inputs_stay_unchanged_in_later_runs(directory, on_device):
    shape = {"n_users": 4, "n_excluded": 5, "k": 10}
    inputs = inputs_of(directory, 1, **shape)
    first = on_device.run(RECOMMEND_OUTPUTS, inputs)
    outputs = [array.copy() for array in first]
    copies = {name: array.copy() for name, array in inputs.items()}
    other = on_device.run(RECOMMEND_OUTPUTS, inputs_of(directory, 2, **shape))
    assert not np.array_equal(other[1], outputs[1])
    assert all(np.array_equal(array, copy) for array, copy in zip(first, outputs, strict=True))
    assert all(np.array_equal(inputs[name], copies[name]) for name in inputs)


def test_threads_never_share_a_binding(directory, session, on_device):
    shape = {"n_users": 3, "n_excluded": 5, "k": 10}
    queries = [inputs_of(directory, seed, **shape) for seed in range(20)]
    expected = [session.run(RECOMMEND_OUTPUTS, inputs) for inputs in queries]
    start_together = threading.Barrier(8)

    def run_all(start):
        start_together.wait()
        for number in range(60):
            which = (start + number) % len(queries)
            assert_same(on_device.run(RECOMMEND_OUTPUTS, queries[which]), expected[which])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_all, range(8)))


def test_every_graph_runs_with_bound_tables(directory):
    """A run after a failed one too: the binding of the failed run is not used again."""
    tables = DeviceTables(directory, PRETENDED)
    inputs = TrialInputs(directory)
    for name in graphs_for_devices(directory):
        own, bound = load_on_cpu(directory, name), load_on_device(directory, name, tables, PRETENDED)
        outputs = [output.name for output in own.get_outputs()]
        for size in (1, 7, 1):
            given = inputs.make(name, size)
            assert_same(bound.run(outputs, given), own.run(outputs, given))
            with pytest.raises(Exception, match=r"."):
                bound.run(outputs, {name: np.zeros((2, 2, 2, 2), array.dtype) for name, array in given.items()})


def test_all_graphs_read_one_copy_of_each_table(directory):
    tables = DeviceTables(directory, PRETENDED)
    addresses = {}
    for graph in directory.manifest.graphs:
        _, arrays = tables.bind_graph(graph.name)
        assert arrays, graph.name
        for array in arrays:
            key = (array.name.rpartition(".")[2], array.shape)
            assert addresses.setdefault(key, array.address) == array.address
    read = {table for graph in directory.manifest.graphs for table in graph.tables.values()}
    assert set(tables.names) == read
    assert tables.n_bytes == sum(directory.tables[name].nbytes for name in read)


def test_a_graph_computes_with_the_bound_tables_and_not_with_its_file(directory):
    changed = dict(directory.tables)
    changed["item_bias"] = directory.tables["item_bias"] + np.float32(2)
    tables = DeviceTables(replace(directory, tables=changed), PRETENDED)
    inputs = TrialInputs(directory).make("predict", 5)
    logits = load_on_cpu(directory, "predict").run(["logits"], inputs)[0]
    shifted = load_on_device(directory, "predict", tables, PRETENDED).run(["logits"], inputs)[0]
    np.testing.assert_allclose(shifted, logits + 2, atol=1e-5)


def test_a_table_is_freed_when_the_last_graph_that_reads_it_is_given_up(directory):
    graphs = DeviceGraphs(directory, PRETENDED, must_use=False)
    names = graphs_for_devices(directory)
    for name in names[:-1]:
        graphs.drop(name, "the test says so")
        assert graphs.tables.names
    graphs.drop(names[-1], "the test says so")
    assert graphs.tables.names == []


@pytest.mark.parametrize("search", ["plain", "blocks", "groups"])
@pytest.mark.parametrize("name", ["dot_version", "two_part_version", "indexed_version"])
def test_every_search_of_a_device_finds_the_exact_best(name, search, request):
    """With pairs of equal scores (indexed_version), the lower row comes first."""
    directory = open_version_directory(request.getfixturevalue(name))
    found = DeviceRecommend(directory, DeviceTables(directory, PRETENDED), PRETENDED, search)
    session = load_on_cpu(directory, "recommend")
    for seed in range(4):
        inputs = inputs_of(directory, seed)
        rows, scores, ratings = found.run(RECOMMEND_OUTPUTS, inputs)
        expected = session.run(RECOMMEND_OUTPUTS, inputs)
        assert np.array_equal(rows, expected[0])
        assert_same((scores, ratings), expected[1:])


def test_no_search_on_a_device_sorts_many_elements():
    from cofactor_server.inference.device.recommend_graph import (
        BLOCK,
        BLOCKS_PER_GROUP,
        MAX_TOP_K_ELEMENTS,
        CatalogueShape,
    )

    for n_columns, k in [(1792, 16), (100_096, 16), (1_000_064, 16), (10_000_128, 16), (10_000_128, 32)]:
        n_blocks = n_columns // BLOCK
        sizes = {
            "plain": [n_columns],
            "blocks": [n_blocks, k * BLOCK],
            "groups": [-(-n_blocks // BLOCKS_PER_GROUP), k * BLOCKS_PER_GROUP, k * BLOCK],
        }[CatalogueShape(67, n_columns).search()]
        assert max(sizes) <= MAX_TOP_K_ELEMENTS


def test_the_graph_of_a_device_has_no_control_flow_and_only_operators_with_a_cuda_kernel():
    import onnx

    from cofactor_server.inference.device.recommend_graph import CatalogueShape, recommend_graph

    for n_columns in (1792, 100_096, 1_000_064):
        model = onnx.load_from_string(recommend_graph(CatalogueShape(67, n_columns)))
        onnx.checker.check_model(model, full_check=True)
        assert {node.op_type for node in model.graph.node} <= CUDA_KERNELS - {"If"}
        # CUDA pads numbers of no other type.
        shown = onnx.shape_inference.infer_shapes(model).graph.value_info
        types = {value.name: value.type.tensor_type.elem_type for value in shown}
        padded = [types[node.input[0]] for node in model.graph.node if node.op_type == "Pad"]
        assert set(padded) <= {onnx.TensorProto.FLOAT}


def operators_of(graph):
    """Yield the operators of a graph and of its branches."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from operators_of(attribute.g)


def test_exported_graphs_have_only_operators_with_a_cuda_kernel(directory, wide_version):
    import onnx

    for folder in (directory.path, wide_version):
        for path in folder.glob("*.onnx"):
            model = onnx.load(path, load_external_data=False)
            assert set(operators_of(model.graph)) <= CUDA_KERNELS, path.name


def test_nodes_that_run_elsewhere_are_found(dot_version):
    directory = open_version_directory(dot_version)
    session = load_on_device(directory, "recommend", DeviceTables(directory, PRETENDED), PRETENDED).session
    assert nodes_elsewhere(session, PRETENDED) == []
    if hasattr(session, "get_provider_graph_assignment_info"):
        assert "TopK" in nodes_elsewhere(session, replace(PRETENDED, provider="another"))


class RecordingSession:
    """Session that records the shapes of its runs."""

    def __init__(self, session):
        self.session, self.shapes = session, []

    def run(self, outputs, inputs):
        self.shapes.append((*inputs["excluded_rows"].shape, int(inputs["k"][0])))
        assert all(len(inputs[name]) == len(inputs["excluded_rows"]) for name in inputs if name != "k")
        return self.session.run(outputs, inputs)


def test_padding_does_not_change_the_outputs(directory, session):
    recording = RecordingSession(session)
    buckets = ShapeBuckets(recording, N_ITEMS, has_ranking_part=has_ranking_part(directory))
    for seed in range(40):
        inputs = inputs_of(directory, seed)
        assert_same(buckets.run(RECOMMEND_OUTPUTS, inputs), session.run(RECOMMEND_OUTPUTS, inputs))
    batches, exclusions, ks = zip(*recording.shapes, strict=True)
    assert set(batches) <= set(BATCH_SIZES)
    assert set(exclusions) <= set(LENGTHS)
    assert set(ks) <= {*LENGTHS, N_ITEMS}


def test_inputs_larger_than_every_bucket_are_run_too(directory, session):
    buckets = ShapeBuckets(session, N_ITEMS, has_ranking_part=has_ranking_part(directory))
    inputs = inputs_of(directory, 1, n_users=130, n_excluded=1500, k=N_ITEMS)
    outputs = buckets.run(RECOMMEND_OUTPUTS, inputs)
    expected = session.run(RECOMMEND_OUTPUTS, inputs)
    assert_same(outputs[1:], expected[1:])  # without rows: excluded ones come last, in any order
    lengths = [padded_length(length, LENGTHS) for length in (1, 16, 17, 1024, 1025, 4096, 5000)]
    assert lengths == [16, 16, 128, 1024, 2048, 4096, 8192]


def test_after_the_warm_up_no_call_has_a_new_shape(directory, session):
    recording = RecordingSession(session)
    buckets = ShapeBuckets(recording, N_ITEMS, has_ranking_part=has_ranking_part(directory))
    for inputs in TrialInputs(directory).recommend_shapes([1, 8, 32]):
        buckets.run(RECOMMEND_OUTPUTS, inputs)
    warm_shapes = set(recording.shapes)
    for seed in range(40):
        buckets.run(RECOMMEND_OUTPUTS, inputs_of(directory, seed, n_users=1 + seed % 32))
    assert set(recording.shapes) == warm_shapes
    assert max(shape[0] for shape in warm_shapes) == 32


@pytest.fixture
def always(monkeypatch):
    """Return a function that lets all trials take a given time on the CPU and on the device."""

    def always(cpu_s, device_s):
        trials = lambda sizes, *_: [Trial(size, cpu_s, device_s) for size in sizes]  # noqa: E731
        monkeypatch.setattr(device_graphs_module, "measure", trials)

    return always


def test_an_engine_on_a_device_passes_every_golden_test_and_warms_up(directory, always):
    always(2.0, 1.0)
    engine = Engine(directory, [CPU], must_use_first=True, device=PRETENDED)
    assert run_golden_tests(directory, engine) > 10
    assert set(engine.device_graphs.sessions) == set(graphs_for_devices(directory))
    assert engine.warm_up(20) == 8  # runs are padded to no more users than they may have
    assert not engine.is_on_cpu
    assert engine.providers[0] == PRETENDED.provider
    assert {p.graph for p in engine.placements if p.takes(1)} == set(graphs_for_devices(directory))
    inputs = inputs_of(directory, 5, n_users=3, k=10)
    plain = Engine(directory, [CPU], must_use_first=True)
    arguments = [inputs[name] for name in ("user_factors", "user_bias", "popularity_weight", "excluded_rows")]
    weights = inputs.get("order_weights")
    assert_same(engine.recommend(*arguments, 10, weights), plain.recommend(*arguments, 10, weights))


def test_an_engine_gives_up_the_device_where_the_cpu_is_faster(directory, always):
    always(1.0, 2.0)
    engine = Engine(directory, [CPU], must_use_first=True, device=PRETENDED)
    assert engine.warm_up(20) == 20
    assert engine.is_on_cpu
    assert engine.providers == [CPU]
    assert engine.device_graphs.tables.names == []
    assert isinstance(engine._recommend._session, onnxruntime.InferenceSession)


def test_pinned_graphs_run_on_the_device_and_others_do_not(dot_version, always):
    always(1.0, 2.0)
    directory = open_version_directory(dot_version)
    engine = Engine(directory, [CPU], must_use_first=True, device=PRETENDED, pinned=frozenset({"similar_items"}))
    engine.warm_up(20)
    assert {placement.graph for placement in engine.placements if placement.uses_device} == {"similar_items"}
    assert engine.is_on_cpu


def test_long_lists_of_results_run_on_the_cpu(indexed_version, always):
    always(2.0, 1.0)
    directory = open_version_directory(indexed_version)
    n_items = int(directory.manifest.item_count)
    engine = Engine(directory, [CPU], must_use_first=True, device=PRETENDED)
    engine.warm_up(1)
    recommend = engine.device_graphs.sessions["recommend"]
    assert recommend.can_run({"k": np.array([LENGTHS[1]])})
    assert not recommend.can_run({"k": np.array([LENGTHS[1] + 1])})
    one = np.zeros(1, np.float32)
    users = np.zeros((1, directory.manifest.user_factor_count), np.float32)
    rows, _, _ = engine.recommend(users, one, one, np.array([[n_items]]), 500)
    assert rows.shape == (1, 500)


class LittleRoom:
    """Session that fails for batches of more than a number of users, as a device without room for them does."""

    def __init__(self, session, n_users):
        self.session, self.n_users = session, n_users

    def run(self, outputs, inputs):
        if len(inputs["user_bias"]) > self.n_users:
            raise RuntimeError("Available memory of 1 is smaller than requested bytes of 2")
        return self.session.run(outputs, inputs)


def test_a_size_for_which_the_device_has_no_room_runs_on_the_cpu(dot_version, always):
    always(2.0, 1.0)
    directory = open_version_directory(dot_version)
    engine = Engine(directory, [CPU], must_use_first=True, device=PRETENDED)
    graphs = engine.device_graphs
    graphs.sessions["recommend"] = LittleRoom(graphs.sessions["recommend"], 8)
    engine.warm_up(32)
    placement = next(place for place in engine.placements if place.graph == "recommend")
    assert [trial.device_s is not None for trial in placement.trials] == [True, True, False]
    assert placement.on_device == (True, True, False)
    # Nine users would be padded to 32 on the device.
    for n_users in (1, 8, 9, 32):
        inputs = inputs_of(directory, 1, n_users=n_users, k=5)
        arguments = [inputs[name] for name in ("user_factors", "user_bias", "popularity_weight", "excluded_rows")]
        assert engine.recommend(*arguments, 5)[0].shape == (n_users, 5)
    graphs = DeviceGraphs(directory, PRETENDED, must_use=False)
    graphs.sessions["recommend"] = LittleRoom(graphs.sessions["recommend"], 0)
    graphs.place({"recommend": load_on_cpu(directory, "recommend")}, 8, DeviceFailure())
    assert "recommend" not in graphs.sessions
    assert "smaller than requested bytes" in graphs.placements[0].reason


def with_wrong_bias(directory):
    tables = {**directory.tables, "item_bias": directory.tables["item_bias"] + np.float32(0.01)}
    return replace(directory, tables=tables)


def test_a_graph_that_is_wrong_on_the_device_runs_on_the_cpu_unless_the_device_must_run_it(dot_version, caplog):
    directory = open_version_directory(dot_version)
    for must_use in (False, True):
        engine = Engine(directory, [CPU], must_use_first=must_use, device=PRETENDED)
        wrong = DeviceGraphs(with_wrong_bias(directory), PRETENDED, must_use=must_use)
        engine.device_graphs = wrong
        if must_use:
            with pytest.raises(ProviderUnavailable, match=r"graph recommend of dot/1: golden case 0: \w+ differ"):
                run_golden_tests(directory, engine)
            continue
        run_golden_tests(directory, engine)
        assert "recommend" not in wrong.sessions
        assert "predict" not in wrong.sessions
        assert "similar_items" in wrong.sessions
        assert re.search(r"the CPU runs graph recommend: golden case 0: \w+ differ", caplog.text)


def test_a_graph_that_does_not_load_on_the_device_runs_on_the_cpu(dot_version, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : /a/b/gemm.cc:12 CUDA out of memory")

    monkeypatch.setattr(device_graphs_module, "load_on_device", fail)
    directory = open_version_directory(dot_version)
    engine = Engine(directory, [CPU], must_use_first=False, device=PRETENDED)
    assert set(engine.device_graphs.sessions) == {"recommend"}
    assert "the CPU runs graph predict: gemm.cc:12 CUDA out of memory" in caplog.text
    monkeypatch.setattr(device_graphs_module, "DeviceRecommend", fail)
    # A lack of memory may pass: the server tries the version again.
    with pytest.raises(OSError, match=r"graph recommend of dot/1: gemm\.cc:12 CUDA out of memory; free") as raised:
        Engine(directory, [CPU], must_use_first=True, device=PRETENDED)
    assert is_passing(raised.value)


def test_a_version_that_is_wrong_on_the_cpu_is_refused_on_a_device_too(dot_version, monkeypatch):
    directory = open_version_directory(dot_version)
    engine = Engine(directory, [CPU], must_use_first=False, device=PRETENDED)
    monkeypatch.setattr(engine, "run", lambda graph, inputs: {})
    with pytest.raises(ModelRefused, match="missing or of another shape"):
        run_golden_tests(directory, engine)


def test_networks_have_no_graph_of_their_own_for_devices(directory):
    assert has_device_graph(directory) == (directory.manifest.architecture == "dot-product")


def test_a_server_says_where_its_graphs_run(dot_version, tmp_path, versions, serve, always, monkeypatch):
    always(0.002, 0.001)
    device = replace(PRETENDED, free_memory=iter(range(10_000, 0, -1000)).__next__)
    monkeypatch.setattr(engine_module, "device_of", lambda _: device)
    versions.copy(dot_version, tmp_path)
    api = serve(tmp_path, gpu_graphs="auto")
    model = api.catalog.GetModel(GetModelRequest()).model
    graphs = {placement.graph: placement for placement in model.placements}
    assert set(graphs) == {"predict", "recommend", "similar_items", "similarity", "embed_user", "embed_item"}
    assert not graphs["embed_item"].trials
    trial = graphs["recommend"].trials[0]
    assert (trial.size, trial.execution_provider, trial.cpu_ms, trial.device_ms) == (1, CPU, 2, 1)
    assert graphs["recommend"].reason == "the device was faster at every size"
    assert model.device_table_bytes > 0
    assert 0 < model.device_memory_bytes < 10_000
    best = api.recommender.Recommend(RecommendRequest(user={"user_id": "u001"}, page_size=5))
    assert len(best.results) == 5
    assert best.model.execution_provider == CPU
    gauges = dict(_gauges(api.server))
    assert gauges["cofactor_graph_info", "recommend", "1", CPU] == 1
    assert gauges["cofactor_device_memory_bytes", "tables"] == model.device_table_bytes


def _gauges(server):
    for name, samples in server.reporter.report().gauges.items():
        for labels, value in samples:
            place = [labels[key] for key in ("graph", "size", "provider", "kind") if key in labels]
            yield (name, *place), value


MEMORY = """
import sys
from pathlib import Path
import numpy as np
import psutil
from cofactor_server.inference.device.graphs import DeviceGraphs
from cofactor_server.inference.device.tables import DeviceTables
from cofactor_server.inference.execution_providers import CPU, Device
from cofactor_server.inference.sessions import load_on_device
from cofactor_server.repository.passing_errors import is_passing
from cofactor_server.repository.version_directory import open_version_directory

class PrivateTables(DeviceTables):
    # Copies, as on a device: on the CPU, a table would stay in the mapped file.
    def _copy(self, graph, name, values):
        if sys.argv[2] == "separate":
            name = f"{name} of {graph}"
        return super()._copy(graph, name, values if name in self._values else np.array(values))

directory = open_version_directory(Path(sys.argv[1]))
device = Device(CPU, "cpu", free_memory=lambda: None)
load_on_device(directory, "predict", DeviceTables(directory, device), device)
before = psutil.Process().memory_full_info().uss
tables = PrivateTables(directory, device)
sessions = [load_on_device(directory, graph.name, tables, device) for graph in directory.manifest.graphs]
print(psutil.Process().memory_full_info().uss - before, tables.n_bytes)
"""


@pytest.fixture(scope="module")
def wide_version(tmp_path_factory):
    """Return a version whose tables are large beside what sessions take."""
    from cofactor_trainer.export.version_writer import export_version

    n_items = 24_000
    return export_version(
        synthetic.make_model(n_items=n_items, n_factors=120),
        synthetic.make_dataset(n_items=n_items),
        tmp_path_factory.mktemp("wide"),
        "wide",
        "1",
        metrics={},
        hyperparameters={},
    )


def test_the_tables_take_their_own_size_once(wide_version):
    def taken(mode):
        command = [sys.executable, "-c", MEMORY, str(wide_version), mode]
        return map(int, subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split())

    shared, size = taken("shared")
    separate, total = taken("separate")
    assert size > 10 * 2**20
    assert 0.9 * size < shared < 1.7 * size, "less than a second copy"
    assert total > 4 * size
    assert separate > 4 * size, "the control"
