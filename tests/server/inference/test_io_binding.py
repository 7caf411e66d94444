"""Test, on the CPU, the parts that serve on a device: bound runs, padded shapes and shared tables change no output."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from cofactor_server.inference.io_binding import BoundSession

from cofactor_server.inference import engine as engine_module
from cofactor_server.inference import sessions as sessions_module
from cofactor_server.inference.device_tables import DeviceTables
from cofactor_server.inference.engine import RECOMMEND_OUTPUTS, Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.inference.golden_check import run_golden_tests
from cofactor_server.inference.shape_buckets import BATCH_SIZES, LENGTHS, ShapeBuckets, padded_length
from cofactor_server.repository.version_directory import open_version_directory
from tests.support import synthetic

N_ITEMS = synthetic.N_ITEMS


def n_idle_bindings(bound) -> int:
    return sum(map(len, bound._idle.values()))


def session_of(directory, graph="recommend", tables=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if tables is not None:
        tables.share(graph, options)
    return onnxruntime.InferenceSession(str(directory.graph_path(graph)), options, providers=[CPU])


@pytest.fixture(scope="module", params=["dot_version", "net_version", "hybrid_version", "two_part_hybrid_version"])
def directory(request):
    return open_version_directory(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def session(directory):
    return session_of(directory)


def has_ranking_part(directory):
    return directory.manifest.ranking_factor_count > 0


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


def test_a_bound_run_equals_a_plain_run(directory, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    for seed in range(30):
        inputs = inputs_of(directory, seed)
        assert_same(bound.run(RECOMMEND_OUTPUTS, inputs), session.run(RECOMMEND_OUTPUTS, inputs))


def test_outputs_come_in_the_requested_order(directory, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    scores, rows = bound.run(("scores", "item_rows"), inputs_of(directory, 1))
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32


def test_outputs_stay_unchanged_when_their_binding_is_used_again(directory, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    shape = {"n_users": 4, "n_excluded": 5, "k": 10}
    first = bound.run(RECOMMEND_OUTPUTS, inputs_of(directory, 1, **shape))
    copies = [array.copy() for array in first]
    other = bound.run(RECOMMEND_OUTPUTS, inputs_of(directory, 2, **shape))
    assert not np.array_equal(other[1], copies[1])
    for array, copy in zip(first, copies, strict=True):
        assert np.array_equal(array, copy)
    assert n_idle_bindings(bound) == 1


def test_inputs_of_a_caller_are_never_overwritten(directory, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    shape = {"n_users": 4, "n_excluded": 5, "k": 10}
    first = inputs_of(directory, 1, **shape)
    copies = {name: array.copy() for name, array in first.items()}
    bound.run(RECOMMEND_OUTPUTS, first)
    bound.run(RECOMMEND_OUTPUTS, inputs_of(directory, 2, **shape))
    assert all(np.array_equal(first[name], copies[name]) for name in first)


def test_threads_never_share_a_binding(directory, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    shape = {"n_users": 3, "n_excluded": 5, "k": 10}
    queries = [inputs_of(directory, seed, **shape) for seed in range(40)]
    expected = [session.run(RECOMMEND_OUTPUTS, inputs) for inputs in queries]
    start_together = threading.Barrier(8)

    def run_all(start):
        start_together.wait()
        for number in range(200):
            which = (start + number) % len(queries)
            assert_same(bound.run(RECOMMEND_OUTPUTS, queries[which]), expected[which])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_all, range(8)))
    assert 1 <= n_idle_bindings(bound) <= 8


def test_the_binding_of_a_failed_run_is_not_reused(directory, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    inputs = inputs_of(directory, 1, n_users=2, n_excluded=3, k=5)
    with pytest.raises(Exception, match=r"."):
        bound.run(RECOMMEND_OUTPUTS, {**inputs, "k": np.array([N_ITEMS + 5])})
    assert n_idle_bindings(bound) == 0
    assert_same(bound.run(RECOMMEND_OUTPUTS, inputs), session.run(RECOMMEND_OUTPUTS, inputs))


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
    inputs = inputs_of(directory, 1, n_users=70, n_excluded=1500, k=N_ITEMS)
    outputs = buckets.run(RECOMMEND_OUTPUTS, inputs)
    expected = session.run(RECOMMEND_OUTPUTS, inputs)
    assert_same(outputs[1:], expected[1:])  # without rows: excluded ones come last, in any order
    lengths = [padded_length(length, LENGTHS) for length in (1, 16, 17, 1024, 1025, 4096, 5000)]
    assert lengths == [16, 16, 128, 1024, 2048, 4096, 8192]


def test_after_the_warm_up_no_call_has_a_new_shape(directory, session):
    recording = RecordingSession(session)
    buckets = ShapeBuckets(recording, N_ITEMS, has_ranking_part=has_ranking_part(directory))
    buckets.warm_up(RECOMMEND_OUTPUTS, directory.manifest.user_factor_count, 32)
    warm_shapes = set(recording.shapes)
    for seed in range(40):
        buckets.run(RECOMMEND_OUTPUTS, inputs_of(directory, seed, n_users=1 + seed % 32))
    assert set(recording.shapes) == warm_shapes
    assert max(shape[0] for shape in warm_shapes) == 32


def test_sessions_read_the_shared_tables(directory):
    """The same tables give the same outputs, and changed tables give changed outputs."""
    own = session_of(directory)
    tables = DeviceTables(directory, "cpu")
    assert directory.whole_tables("recommend")
    inputs = inputs_of(directory, 3)
    assert_same(session_of(directory, tables=tables).run(RECOMMEND_OUTPUTS, inputs), own.run(RECOMMEND_OUTPUTS, inputs))
    assert "item_bias" in directory.whole_tables("recommend").values()
    other = DeviceTables(directory, "cpu")
    bias = np.asarray(directory.tables["item_bias"]) + np.float32(2)
    other._values["item_bias"] = onnxruntime.OrtValue.ortvalue_from_numpy(bias, "cpu", 0)
    shifted = session_of(directory, tables=other)
    outputs = shifted.run(
        RECOMMEND_OUTPUTS, {**inputs, "excluded_rows": np.full_like(inputs["excluded_rows"], N_ITEMS)}
    )
    exact = own.run(RECOMMEND_OUTPUTS, {**inputs, "excluded_rows": np.full_like(inputs["excluded_rows"], N_ITEMS)})
    rating_weights = inputs["order_weights"][:, :1] if has_ranking_part(directory) else 1
    np.testing.assert_allclose(outputs[1], exact[1] + 2 * rating_weights, atol=1e-5)


def test_all_graphs_share_one_copy_of_each_table(directory):
    tables = DeviceTables(directory, "cpu")
    for graph in directory.manifest.graphs:
        named = directory.whole_tables(graph.name)
        assert "item_factors" in named.values() or "item_hidden" in named.values(), graph.name
        session_of(directory, graph.name, tables)
    values = {name: id(value) for name, value in tables._values.items()}
    session_of(directory, "predict", tables)
    assert {name: id(value) for name, value in tables._values.items()} == values


@pytest.fixture
def device_engine(directory, monkeypatch):
    """Return an engine that takes the CPU for a device, and so binds, pads and shares as on CUDA."""
    for module in (engine_module, sessions_module):
        monkeypatch.setattr(module, "CUDA", CPU)
        monkeypatch.setattr(module, "DEVICE", "cpu")
    return Engine(directory, [CPU], must_use_first=True)


def test_an_engine_on_a_device_passes_every_golden_test(directory, device_engine):
    assert isinstance(device_engine._recommend._session, ShapeBuckets)
    assert device_engine._device_tables._values
    assert run_golden_tests(directory, device_engine) > 10


def test_an_engine_on_a_device_pads_to_no_more_users_than_a_run_may_have(directory, device_engine):
    n_factors = directory.manifest.user_factor_count
    assert [device_engine.warm_up(limit, n_factors) for limit in (1, 7, 8, 20, 32, 1000)] == [1, 1, 8, 8, 32, 64]
    n_bindings = n_idle_bindings(device_engine._recommend._session._session)
    assert n_bindings == len(BATCH_SIZES) * len(LENGTHS) * 2


def test_on_the_cpu_the_engine_runs_the_graph_directly(directory):
    engine = Engine(directory, [CPU], must_use_first=True)
    assert engine.warm_up(20, directory.manifest.user_factor_count) == 20
    assert isinstance(engine._recommend._session, onnxruntime.InferenceSession)
