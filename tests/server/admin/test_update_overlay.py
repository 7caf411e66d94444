"""Add items to a version and remove some through the admin API."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1 import catalog_pb2
from cofactor.v1 import recommender_pb2 as pb
from cofactor_server.admin.server import AdminServer
from cofactor_server.repository.overlays.files import decode_overlay
from cofactor_server.repository.overlays.folders import KEPT_FILES
from tests.support.overlays import Twins


@pytest.fixture
def models(dot_version, versions, tmp_path):
    """Return a repository with version 1 of `m`."""
    versions.copy(dot_version, tmp_path / "models", "m")
    return tmp_path / "models"


@pytest.fixture
def api(serve, models):
    """Return the stubs of a server with the admin API that does not poll, and twins."""
    api, reloads = serve(models, poll_interval_s=0), []
    api.server.admin = AdminServer(api.server._live, None, 0, lambda: reloads.append(1))
    with grpc.insecure_channel(f"127.0.0.1:{api.server.admin.port}") as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        yield SimpleNamespace(**vars(api), admin=stub, twins=Twins(models / "m" / "1"), reloads=reloads, models=models)


def update(api, **fields):
    return api.admin.UpdateOverlay(admin_pb2.UpdateOverlayRequest(**{"name": "m", **fields}), timeout=60)


def served(api):
    request = pb.RecommendRequest(user=pb.User(user_id="u003"), page_size=200, include_rated=True)
    return {result.item_id for result in api.recommender.Recommend(request, timeout=60).results}


def files(api):
    folder = api.models / "m" / "overlays" / "1"
    return {int(path.stem): decode_overlay(path.read_bytes(), int(path.stem)) for path in folder.iterdir()}


def test_changes_add_up_and_are_served_and_written(api) -> None:
    everything = served(api)
    first = update(api, added_items=[api.twins.twin("i010", "a"), api.twins.twin("i011", "b")])
    assert (first.version, first.sequence, first.added_count, first.removed_count) == ("1", 1, 2, 0)
    assert served(api) == everything | {"a", "b"}
    second = update(api, removed_item_ids=["a", "i020", "i021"])
    assert (second.sequence, second.added_count, second.removed_count) == (2, 1, 2)
    assert served(api) == everything - {"i020", "i021"} | {"b"}
    update(api, restored_item_ids=["i020"], added_items=[api.twins.twin("i012", "b", title="Changed")])
    assert served(api) == everything - {"i021"} | {"b"}
    found = api.catalog.SearchItems(catalog_pb2.SearchItemsRequest(query="changed"), timeout=60).items
    assert [item.item_id for item in found] == ["b"]
    last = files(api)[3]
    assert (last.name, last.version, last.sequence, list(last.removed_item_ids)) == ("m", "1", 3, ["i021"])
    assert last.create_time.seconds > 0
    cleared = update(api, reset=True)
    assert (cleared.added_count, cleared.removed_count) == (0, 0)
    assert served(api) == everything
    assert len(api.reloads) == 4, "other processes are told of each change"


def test_an_item_of_the_version_is_replaced_and_comes_back(api) -> None:
    update(api, removed_item_ids=["i020"], added_items=[api.twins.twin("i010", "i020", title="Replaced")])
    search = catalog_pb2.SearchItemsRequest(query="replaced")
    assert [i.item_id for i in api.catalog.SearchItems(search, timeout=60).items] == ["i020"]
    update(api, restored_item_ids=["i020"])
    assert not api.catalog.SearchItems(search, timeout=60).items
    assert "i020" in served(api)
    update(api, removed_item_ids=["i020"], added_items=[api.twins.twin("i010", "i020")])
    gone = update(api, removed_item_ids=["i020"])
    assert (gone.added_count, gone.removed_count) == (0, 1)
    assert "i020" not in served(api)


def test_a_named_version_is_changed_and_no_other(api, versions) -> None:
    (api.models / "m" / "serving.json").write_text('{"latest": 2}')
    versions.copy(api.models / "m" / "1", api.models, "m", "2")
    api.server.reload_repository()
    assert update(api, version="1", removed_item_ids=["i020"]).version == "1"
    assert "i020" in served(api), "version 2 is current"
    assert update(api, removed_item_ids=["i020"]).version == "2"
    assert "i020" not in served(api)


def test_only_the_newest_files_are_kept(api) -> None:
    for number in range(KEPT_FILES + 3):
        update(api, added_items=[api.twins.twin("i010", f"new{number}")])
    assert sorted(files(api)) == list(range(4, KEPT_FILES + 4))


def test_a_server_follows_what_another_one_wrote(api, serve) -> None:
    other = serve(api.models, poll_interval_s=0)
    update(api, removed_item_ids=["i020"])
    assert "i020" in served(other)
    other.server.reload_repository()
    assert "i020" not in served(other)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"name": "none"}, "NOT_FOUND", "no model"),
        ({"version": "9"}, "NOT_FOUND", "is not served"),
        ({"removed_item_ids": ["nothing"]}, "NOT_FOUND", r"removed_item_ids\[0\]"),
        ({"restored_item_ids": ["i001"]}, "INVALID_ARGUMENT", r"restored_item_ids\[0\]: \"i001\" is not a removed"),
        ({"added_items": [{}]}, "INVALID_ARGUMENT", r"added_items\[0\].item.item_id: is empty"),
        ({"added_items": [{"item": {"item_id": "i001"}}]}, "INVALID_ARGUMENT", "is an item of the version"),
    ],
)
def test_a_wrong_request_is_refused_and_changes_nothing(api, fields, code, message) -> None:
    update(api, added_items=[api.twins.twin("i010", "a")])
    with pytest.raises(grpc.RpcError, match=message) as refused:
        update(api, **fields)
    assert refused.value.code().name == code
    assert sorted(files(api)) == [1]


def test_the_field_at_fault_is_that_of_the_request(api) -> None:
    update(api, added_items=[api.twins.twin("i010", "a"), api.twins.twin("i010", "b")])
    wrong = api.twins.twin("i011", "c")
    wrong.embedding.factors[2] = float("inf")
    with pytest.raises(grpc.RpcError, match=r"details = .added_items\[1\].embedding.factors\[2\]: must be a number"):
        update(api, added_items=[api.twins.twin("i012", "a"), wrong])


def test_a_read_only_repository_is_named(api, monkeypatch) -> None:
    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(api.server._live.source.overlays, "update", fail)
    with pytest.raises(grpc.RpcError, match="Read-only file system") as refused:
        update(api, removed_item_ids=["i020"])
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
