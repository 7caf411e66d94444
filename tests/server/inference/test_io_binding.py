"""What serves on a device, on the CPU: bound runs, filled-up batches and shared tables change no answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from cofactor_server.inference import engine as engine_module
from cofactor_server.inference.device_tables import DeviceTables
from cofactor_server.inference.engine import RECOMMEND_OUTPUTS, Engine
from cofactor_server.inference.execution_providers import CPU
from cofactor_server.inference.golden_check import check_golden_answers
from cofactor_server.inference.io_binding import BoundSession
from cofactor_server.inference.shape_buckets import BATCH_SIZES, LENGTHS, ShapeBuckets, padded_length
from cofactor_server.repository.version_directory import open_version_directory
from tests.support import synthetic

N_ITEMS = synthetic.N_ITEMS


def n_free_bindings(bound) -> int:
    return sum(map(len, bound._free.values()))


def session_of(bundle, graph="recommend", tables=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if tables is not None:
        tables.share(graph, options)
    return onnxruntime.InferenceSession(str(bundle.graph_path(graph)), options, providers=[CPU])


@pytest.fixture(scope="module", params=["dot_version", "net_version", "hybrid_version"])
def bundle(request):
    return open_version_directory(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def session(bundle):
    return session_of(bundle)


def inputs_of(bundle, seed, n_users=None, n_excluded=None, k=None):
    """Different users, exclusions and popularity weights for every seed."""
    random = np.random.default_rng(seed)
    n_users = n_users or int(random.integers(1, 40))
    rows = random.integers(0, synthetic.N_USERS, n_users)
    n_excluded = n_excluded or int(random.integers(1, 60))
    return {
        "user_factors": bundle.tables["user_factors"][rows],
        "user_bias": bundle.tables["user_bias"][rows],
        "popularity_weight": random.normal(size=n_users).astype(np.float32),
        "excluded_rows": random.integers(0, N_ITEMS + 1, (n_users, n_excluded)),
        "k": np.array([k or int(random.integers(1, 50))]),
    }


def assert_same(answer, expected):
    for ours, theirs in zip(answer, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_bound_run_answers_what_any_other_run_does(bundle, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    for seed in range(30):
        inputs = inputs_of(bundle, seed)
        assert_same(bound.run(RECOMMEND_OUTPUTS, inputs), session.run(RECOMMEND_OUTPUTS, inputs))


def test_outputs_come_in_the_order_asked_for(bundle, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    scores, rows = bound.run(("scores", "item_rows"), inputs_of(bundle, 1))
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32


def test_an_answer_stays_what_it_was_when_its_buffers_are_used_again(bundle, session):
    """ONNX Runtime writes the next answer over the last one, and gives numpy a view of it."""
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    shape = {"n_users": 4, "n_excluded": 5, "k": 10}
    first = bound.run(RECOMMEND_OUTPUTS, inputs_of(bundle, 1, **shape))
    kept = [array.copy() for array in first]
    other = bound.run(RECOMMEND_OUTPUTS, inputs_of(bundle, 2, **shape))
    assert not np.array_equal(other[1], kept[1])
    for array, copy in zip(first, kept, strict=True):
        assert np.array_equal(array, copy)
    assert n_free_bindings(bound) == 1


def test_what_a_caller_asked_with_is_never_written_to(bundle, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    shape = {"n_users": 4, "n_excluded": 5, "k": 10}
    first = inputs_of(bundle, 1, **shape)
    kept = {name: array.copy() for name, array in first.items()}
    bound.run(RECOMMEND_OUTPUTS, first)
    bound.run(RECOMMEND_OUTPUTS, inputs_of(bundle, 2, **shape))
    assert all(np.array_equal(first[name], kept[name]) for name in first)


def test_threads_never_share_a_binding(bundle, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    shape = {"n_users": 3, "n_excluded": 5, "k": 10}
    queries = [inputs_of(bundle, seed, **shape) for seed in range(40)]
    expected = [session.run(RECOMMEND_OUTPUTS, inputs) for inputs in queries]
    together = threading.Barrier(8)

    def ask_for_all(start):
        together.wait()
        for number in range(200):
            which = (start + number) % len(queries)
            assert_same(bound.run(RECOMMEND_OUTPUTS, queries[which]), expected[which])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask_for_all, range(8)))
    assert 1 <= n_free_bindings(bound) <= 8


def test_a_failed_run_leaves_no_binding_behind(bundle, session):
    bound = BoundSession(session, RECOMMEND_OUTPUTS, "cpu")
    inputs = inputs_of(bundle, 1, n_users=2, n_excluded=3, k=5)
    with pytest.raises(Exception, match=r"."):
        bound.run(RECOMMEND_OUTPUTS, {**inputs, "k": np.array([N_ITEMS + 5])})
    assert n_free_bindings(bound) == 0
    assert_same(bound.run(RECOMMEND_OUTPUTS, inputs), session.run(RECOMMEND_OUTPUTS, inputs))


class Recording:
    """A session that notes the shapes of its runs."""

    def __init__(self, session):
        self.session, self.shapes = session, []

    def run(self, outputs, inputs):
        self.shapes.append((*inputs["excluded_rows"].shape, int(inputs["k"][0])))
        assert all(len(inputs[name]) == len(inputs["excluded_rows"]) for name in inputs if name != "k")
        return self.session.run(outputs, inputs)


def test_filling_up_is_invisible(bundle, session):
    recording = Recording(session)
    fixed = ShapeBuckets(recording, N_ITEMS)
    for seed in range(40):
        inputs = inputs_of(bundle, seed)
        assert_same(fixed.run(RECOMMEND_OUTPUTS, inputs), session.run(RECOMMEND_OUTPUTS, inputs))
    batches, exclusions, ks = zip(*recording.shapes, strict=True)
    assert set(batches) <= set(BATCH_SIZES)
    assert set(exclusions) <= set(LENGTHS)
    assert set(ks) <= {*LENGTHS, N_ITEMS}


def test_a_batch_and_lists_beyond_the_fixed_lengths_are_answered_too(bundle, session):
    fixed = ShapeBuckets(session, N_ITEMS)
    inputs = inputs_of(bundle, 1, n_users=70, n_excluded=1500, k=N_ITEMS)
    answer = fixed.run(RECOMMEND_OUTPUTS, inputs)
    expected = session.run(RECOMMEND_OUTPUTS, inputs)
    assert_same(answer[1:], expected[1:])  # the order of excluded rows, which come last, means nothing
    lengths = [padded_length(length, LENGTHS) for length in (1, 16, 17, 1024, 1025, 4096, 5000)]
    assert lengths == [16, 16, 128, 1024, 2048, 4096, 8192]


def test_after_warming_up_no_call_has_a_new_shape(bundle, session):
    recording = Recording(session)
    fixed = ShapeBuckets(recording, N_ITEMS)
    fixed.warm_up(RECOMMEND_OUTPUTS, bundle.manifest.user_factor_count, 32)
    warm = set(recording.shapes)
    for seed in range(40):
        fixed.run(RECOMMEND_OUTPUTS, inputs_of(bundle, seed, n_users=1 + seed % 32))
    assert set(recording.shapes) == warm
    assert max(shape[0] for shape in warm) == 32


def test_shared_tables_take_the_place_of_the_graphs_own(bundle):
    """Of the same tables the same answers; of others, other answers: the session does read what it is given."""
    own = session_of(bundle)
    tables = DeviceTables(bundle, "cpu")
    assert bundle.whole_tables("recommend")
    inputs = inputs_of(bundle, 3)
    assert_same(session_of(bundle, tables=tables).run(RECOMMEND_OUTPUTS, inputs), own.run(RECOMMEND_OUTPUTS, inputs))
    assert "item_bias" in bundle.whole_tables("recommend").values()
    other = DeviceTables(bundle, "cpu")
    bias = np.asarray(bundle.tables["item_bias"]) + np.float32(2)
    other._values["item_bias"] = onnxruntime.OrtValue.ortvalue_from_numpy(bias, "cpu", 0)
    moved = session_of(bundle, tables=other)
    found = moved.run(RECOMMEND_OUTPUTS, {**inputs, "excluded_rows": np.full_like(inputs["excluded_rows"], N_ITEMS)})
    exact = own.run(RECOMMEND_OUTPUTS, {**inputs, "excluded_rows": np.full_like(inputs["excluded_rows"], N_ITEMS)})
    np.testing.assert_allclose(found[1], exact[1] + 2, atol=1e-5)


def test_every_graph_reads_the_tables_that_are_put_there_once(bundle):
    """However many graphs there are, a table is one value, and every graph of every architecture names its tables."""
    tables = DeviceTables(bundle, "cpu")
    for graph in bundle.manifest.graphs:
        named = bundle.whole_tables(graph.name)
        assert "item_factors" in named.values() or "item_hidden" in named.values(), graph.name
        session_of(bundle, graph.name, tables)
    values = {name: id(value) for name, value in tables._values.items()}
    session_of(bundle, "predict", tables)
    assert {name: id(value) for name, value in tables._values.items()} == values


@pytest.fixture
def device_engine(bundle, monkeypatch):
    """An engine that takes the CPU for a device: all that a device needs around the graphs, but for the device."""
    monkeypatch.setattr(engine_module, "CUDA", CPU)
    monkeypatch.setattr(engine_module, "DEVICE", "cpu")
    return Engine(bundle, [CPU], must_use_first=True)


def test_an_engine_on_a_device_gives_every_golden_answer(bundle, device_engine):
    assert isinstance(device_engine._recommend._session, ShapeBuckets)
    assert device_engine._device_tables._values
    assert check_golden_answers(bundle, device_engine) > 10


def test_an_engine_on_a_device_fills_up_to_no_more_users_than_a_run_may_have(bundle, device_engine):
    n_factors = bundle.manifest.user_factor_count
    assert [device_engine.prepare(limit, n_factors) for limit in (1, 7, 8, 20, 32, 1000)] == [1, 1, 8, 8, 32, 64]
    n_warm = n_free_bindings(device_engine._recommend._session._session)
    assert n_warm == len(BATCH_SIZES) * len(LENGTHS) * 2


def test_on_the_cpu_the_engine_runs_the_graph_directly(bundle):
    engine = Engine(bundle, [CPU], must_use_first=True)
    assert engine.prepare(20, bundle.manifest.user_factor_count) == 20
    assert isinstance(engine._recommend._session, onnxruntime.InferenceSession)
