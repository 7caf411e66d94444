"""Tests that need a CUDA device: `make test-cuda`. Elsewhere they are skipped, and pytest's summary says so."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.recommender_pb2 import PredictRequest, RecommendRequest
from cofactor_server.errors import ProviderUnavailable
from cofactor_server.inference.device.cuda_driver import free_device_memory, n_cuda_devices
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.device.graphs import DeviceGraphs
from cofactor_server.inference.device.recommend import DeviceRecommend
from cofactor_server.inference.device.tables import DeviceTables
from cofactor_server.inference.device.trial_inputs import TRIAL_SIZES, TrialInputs
from cofactor_server.inference.engine import RECOMMEND_OUTPUTS, Engine
from cofactor_server.inference.execution_providers import CPU, CUDA, cuda_problem, device_of, requested_providers
from cofactor_server.inference.golden_check import run_golden_tests
from cofactor_server.inference.sessions import load_on_cpu, nodes_elsewhere
from cofactor_server.repository.version_directory import open_version_directory

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(n_cuda_devices() == 0, reason="NOT TESTED: this machine has no CUDA device"),
]
VERSIONS = ["dot_version", "two_part_version", "net_version", "hybrid_version", "two_part_hybrid_version"]
EVERYTHING = frozenset(TRIAL_SIZES)


@pytest.fixture(scope="module")
def device():
    """Return the CUDA device."""
    assert cuda_problem() == ""
    return device_of(requested_providers("cuda", 0))


@pytest.fixture(scope="module", params=VERSIONS)
def directory(request):
    return open_version_directory(request.getfixturevalue(request.param))


def test_every_graph_passes_its_golden_tests_and_agrees_with_the_cpu(directory, device):
    engine = Engine(directory, [], must_use_first=True, pinned=EVERYTHING, device=device)
    run_golden_tests(directory, engine)  # refuses a graph that is wrong, because all of them are pinned
    inputs = TrialInputs(directory)
    for graph in EVERYTHING:
        session = load_on_cpu(directory, graph)
        names = [output.name for output in session.get_outputs() if "rows" not in output.name]
        for size in TRIAL_SIZES[graph]:
            given = inputs.make(graph, size)
            for own, other in zip(
                engine.device_graphs.run(graph, names, given), session.run(names, given), strict=True
            ):
                np.testing.assert_allclose(own, other, atol=1e-5, rtol=1e-5, err_msg=f"{graph}, {size}")


def test_all_graphs_share_one_copy_of_each_table(indexed_version, device):
    """Further graphs that read a table take no further memory for it."""
    directory = open_version_directory(indexed_version)
    tall = {name: np.tile(table, (40, 1)) for name, table in directory.tables.items() if name == "item_factors"}
    tables = DeviceTables(replace(directory, tables={**directory.tables, **tall}), device)
    tables.whole("predict", "item_factors")
    before = free_device_memory()
    for graph in ("predict", "similarity"):
        tables.whole(graph, "item_factors")
    assert before == free_device_memory()
    assert tables.n_bytes == tall["item_factors"].nbytes


@pytest.mark.parametrize("search", ["plain", "blocks", "groups"])
def test_every_search_is_exact_and_stays_on_the_device(search, indexed_version, device):
    directory = open_version_directory(indexed_version)
    found = DeviceRecommend(directory, DeviceTables(directory, device), device, search)
    assert nodes_elsewhere(found.session, device) == []
    session = load_on_cpu(directory, "recommend")
    inputs = TrialInputs(directory)
    for n_users in (1, 5, 33):
        given = inputs.recommend(n_users, 40, 10)
        rows, scores, ratings = found.run(RECOMMEND_OUTPUTS, given)
        _, expected_scores, expected_ratings = session.run(RECOMMEND_OUTPUTS, given)
        # Without the rows: this version has equal scores in pairs, in whose order the device is free.
        np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
        np.testing.assert_allclose(ratings, expected_ratings, atol=1e-5)
        assert all(len(set(row)) == len(row) for row in rows.tolist())


def test_the_memory_of_a_version_is_known_and_given_back_to_the_next(dot_version, device):
    directory = open_version_directory(dot_version)
    taken = []
    for _ in range(4):
        engine = Engine(directory, [], must_use_first=True, pinned=EVERYTHING, device=device)
        engine.warm_up(8)
        taken.append(free_device_memory())
        assert engine.device_graphs.memory_bytes is not None
        del engine
    assert taken[-1] > taken[1] - 64 * 2**20


def test_a_graph_that_has_no_room_is_left_to_the_cpu_or_refused(net_version, device):
    directory = open_version_directory(net_version)
    tight = replace(device, options={**device.options, "gpu_mem_limit": 1})
    only, cpu = frozenset({"recommend"}), {"recommend": load_on_cpu(directory, "recommend")}
    graphs = DeviceGraphs(directory, tight, must_use=False, pinned=only)
    placed = graphs.place(cpu, 8, DeviceFailure())
    assert "recommend" not in graphs.sessions
    assert placed["recommend"] is cpu["recommend"]
    with pytest.raises((OSError, ProviderUnavailable), match="--provider cuda: graph recommend of net/1: "):
        DeviceGraphs(directory, tight, must_use=True, pinned=only).place(cpu, 8, DeviceFailure())


def test_threads_get_their_own_results(dot_version, device):
    directory = open_version_directory(dot_version)
    recommend = DeviceGraphs(directory, device, must_use=True).sessions["recommend"]
    session, inputs = load_on_cpu(directory, "recommend"), TrialInputs(directory)
    queries = [inputs.recommend(3, 5, 10) for _ in range(16)]
    expected = [session.run(["scores"], query)[0] for query in queries]
    errors = []

    def run_all(start):
        try:
            for number in range(50):
                which = (start + number) % len(queries)
                np.testing.assert_allclose(recommend.run(["scores"], queries[which])[0], expected[which], atol=1e-5)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run_all, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_server_on_cuda_says_where_its_graphs_run(dot_version, tmp_path, versions, serve):
    versions.copy(dot_version, tmp_path)
    pinned = serve(tmp_path, provider="cuda", gpu_graphs="recommend,predict").catalog.GetModel(GetModelRequest()).model
    assert list(pinned.execution_providers) == [CUDA, CPU]
    places = {place.graph: place.trials[0].execution_provider for place in pinned.placements if place.trials}
    assert places == {"recommend": CUDA, "predict": CUDA}
    assert pinned.device_table_bytes > 0
    auto = serve(tmp_path, provider="cuda").catalog.GetModel(GetModelRequest()).model
    assert {place.graph for place in auto.placements} == EVERYTHING
    for place in auto.placements:
        for trial in place.trials:
            assert (trial.execution_provider == CUDA) == (trial.device_ms < 0.9 * trial.cpu_ms)


def test_a_version_on_cuda_is_replaced_under_load(dot_version, tmp_path, versions, serve):
    versions.copy(dot_version, tmp_path)
    api = serve(tmp_path, provider="cuda", gpu_graphs="recommend,predict", poll_interval_s=0)
    stop, failures, answered = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            try:
                response = api.recommender.Recommend(RecommendRequest(user={"user_id": "u001"}, page_size=5))
                api.recommender.Predict(PredictRequest(user={"user_id": "u001"}, item_ids=["i000"]))
                answered.append(response.model.version)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in ("2", "3"):
            versions.copy(dot_version, tmp_path, version=version)
            api.server.reload_repository()
            assert api.catalog.GetModel(GetModelRequest()).model.version == version
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert "3" in answered
