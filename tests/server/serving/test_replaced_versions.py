"""Test that a replaced version is freed with its last request, without the cyclic garbage collector.

On a server that runs for weeks the collector rarely runs, and until then every old version would keep its memory.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from cofactor.v1 import catalog_pb2, recommender_pb2
from cofactor_server.arrays import NO_ROWS
from cofactor_server.config import ServerConfig
from cofactor_server.inference.execution_providers import requested_providers
from cofactor_server.ranking.filters import AttributeFilter
from cofactor_server.ranking.ranker import Ranker
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_server.serving.loaded_version import LoadedVersion
from tests.support.waiting import until

USER = recommender_pb2.User(user_id="u003")


@pytest.fixture(autouse=True)
def no_garbage_collector():
    gc.disable()
    yield
    gc.enable()


def freed_check(version: LoadedVersion) -> Callable[[], bool]:
    """Return a function that is True once the version and the parts that have caches are freed."""
    names = ("engine", "catalogue", "filters", "title_search", "response_encoder")
    references = [weakref.ref(part) for part in (version, *(getattr(version, name) for name in names))]
    return lambda: all(reference() is None for reference in references)


@pytest.mark.parametrize("batching", ["on", "off"])
def test_a_version_and_its_parts_are_freed_with_the_last_reference(dot_version, batching) -> None:
    config = ServerConfig(models=str(dot_version.parent.parent), provider="cpu", batching=batching)
    version = LoadedVersion(open_version_directory(dot_version), requested_providers("cpu", 0), config)
    version.filters.select(AttributeFilter(any_genres=("Drama",)), None, NO_ROWS)
    is_freed = freed_check(version)
    del version
    assert is_freed()


def use(api) -> None:
    """Make calls that fill every cache of a version."""
    condition = recommender_pb2.ItemFilter(any_genres=["Drama"])
    plain = recommender_pb2.RecommendRequest(user=USER)
    rich = recommender_pb2.RecommendRequest(user=USER, return_items=True, filter=condition)
    for request in (plain, plain, rich, rich):
        assert api.recommender.Recommend(request, timeout=10).results
    batch = recommender_pb2.BatchRecommendRequest(requests=[plain, rich])
    assert len(api.recommender.BatchRecommend(batch, timeout=10).entries) == 2
    stream = iter([recommender_pb2.StreamRecommendRequest(request=rich)])
    assert len(list(api.recommender.StreamRecommend(stream, timeout=10))) == 1
    api.catalog.SearchItems(catalog_pb2.SearchItemsRequest(query="a"), timeout=10)


def mappings(copies: Path) -> set[str]:
    """Return the files below `copies` that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line[line.index(str(copies)) :] for line in lines if str(copies) in line}


def test_versions_that_served_are_freed_when_they_are_replaced(dot_version, versions, tmp_path, serve) -> None:
    versions.copy(dot_version, tmp_path / "models", version="1")
    copies = tmp_path / "copies"
    api = serve(tmp_path / "models", poll_interval_s=0, copies=str(copies))
    for number in range(2, 6):
        use(api)
        is_freed = freed_check(api.server.repository.versions["dot"][0])
        versions.copy(dot_version, tmp_path / "models", version=str(number))
        api.server._live.watcher.poll()
        until(is_freed, what="the replaced version is freed")
    (copy,) = copies.iterdir()
    assert mappings(copies) == {str(copy / "dot" / "5" / "tables.bin")}


def test_a_request_in_flight_keeps_its_version_until_it_ends(
    dot_version, versions, tmp_path, serve, monkeypatch
) -> None:
    versions.copy(dot_version, tmp_path / "models", version="1")
    api = serve(tmp_path / "models", poll_interval_s=0, batching="off")
    is_freed = freed_check(api.server.repository.versions["dot"][0])
    entered, may_go_on = threading.Event(), threading.Event()
    rank = Ranker.rank

    def wait_and_rank(self, query):
        entered.set()
        assert may_go_on.wait(30)
        return rank(self, query)

    monkeypatch.setattr(Ranker, "rank", wait_and_rank)
    call = api.recommender.Recommend.future(recommender_pb2.RecommendRequest(user=USER), timeout=30)
    assert entered.wait(10)
    versions.copy(dot_version, tmp_path / "models", version="2")
    api.server._live.watcher.poll()
    assert api.server.repository.versions["dot"][0].manifest.version == "2"
    assert not is_freed()
    may_go_on.set()
    assert call.result().model.version == "1"
    until(is_freed, what="the version of the request is freed")
