"""Follow the overlays in a repository: what is applied, what is refused, and what callers see of a change."""

from __future__ import annotations

import logging
import re
import weakref

import grpc
import pytest

from cofactor.v1 import catalog_pb2
from cofactor.v1 import recommender_pb2 as pb
from cofactor.v1.overlay_pb2 import Overlay
from tests.support.overlays import Twins, publish
from tests.support.waiting import until


@pytest.fixture
def models(dot_version, versions, tmp_path):
    """Return a repository with version 1 of `m`."""
    versions.copy(dot_version, tmp_path / "models", "m")
    return tmp_path / "models"


@pytest.fixture
def twins(models):
    return Twins(models / "m" / "1")


def best(api, **fields):
    request = pb.RecommendRequest(**{"user": pb.User(user_id="u003"), "page_size": 5, **fields})
    response = api.recommender.Recommend(request, timeout=60)
    return [result.item_id for result in response.results]


def sequence(api):
    return api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=60).model.overlay_sequence


def top(twins, new_id="new"):
    """Return an added item that every user gets first."""
    return twins.twin("i010", new_id, bias=100.0)


def test_an_overlay_is_followed_replaced_and_gone(serve, models, twins) -> None:
    api = serve(models, poll_interval_s=0, cache_mib=1)
    plain = best(api)
    assert (best(api), sequence(api)) == (plain, 0)
    publish(models, twins.overlay(1, [top(twins)]))
    assert best(api) == plain, "before the poll"
    api.server.reload_repository()
    assert best(api) == ["new", *plain[:4]], "also although the response was cached"
    publish(models, twins.overlay(2, [], [plain[0]]))
    api.server.reload_repository()
    assert (best(api)[:4], sequence(api)) == (plain[1:], 2), "an overlay is the whole difference"
    publish(models, twins.overlay(1, [top(twins)]))
    api.server.reload_repository()
    assert sequence(api) == 2, "the highest number counts"
    for file in (models / "m" / "overlays" / "1").iterdir():
        file.unlink()
    api.server.reload_repository()
    assert (best(api), sequence(api)) == (plain, 0)


def test_a_restarted_server_starts_with_the_overlay(serve, models, twins) -> None:
    publish(models, twins.overlay(7, [top(twins)]))
    api = serve(models, poll_interval_s=0)
    assert (best(api)[0], sequence(api)) == ("new", 7)


def test_the_next_version_starts_without_the_overlay_and_the_old_one_keeps_it(serve, models, twins, versions) -> None:
    (models / "m" / "serving.json").write_text('{"latest": 2}')
    publish(models, twins.overlay(1, [top(twins)]))
    api = serve(models, poll_interval_s=0)
    versions.copy(models / "m" / "1", models, "m", "2")
    api.server.reload_repository()
    assert "new" not in best(api)
    assert best(api, model={"version": "1"})[0] == "new"


def test_a_version_whose_files_change_keeps_its_overlay(serve, models, twins, versions) -> None:
    publish(models, twins.overlay(1, [top(twins)]))
    api = serve(models, poll_interval_s=0)
    manifest = versions.read(models / "m" / "1")
    manifest.dataset = "another text"
    versions.write(models / "m" / "1", manifest)
    api.server.reload_repository()
    model = api.catalog.GetModel(catalog_pb2.GetModelRequest(), timeout=60).model
    assert (model.dataset, model.overlay_sequence, best(api)[0]) == ("another text", 1, "new")


def test_a_replaced_overlay_leaves_no_memory_behind(serve, models, twins) -> None:
    publish(models, twins.overlay(1, [top(twins)], ["i020"]))
    api = serve(models, poll_interval_s=0)
    best(api)
    best(api, exploration_share=0.5)
    replaced = weakref.ref(api.server.repository.resolve_default())
    assert replaced().overlay_sequence == 1
    publish(models, twins.overlay(2, [], ["i021"]))
    api.server.reload_repository()
    best(api)
    until(lambda: replaced() is None, 15, "the version with the first overlay is freed")


def test_a_page_token_of_another_overlay_is_refused(serve, models, twins) -> None:
    publish(models, twins.overlay(1, [top(twins)]))
    api = serve(models, poll_interval_s=0)
    request = pb.RecommendRequest(user=pb.User(user_id="u003"), page_size=5)
    request.page_token = api.recommender.Recommend(request, timeout=60).next_page_token
    assert len(api.recommender.Recommend(request, timeout=60).results) == 5
    publish(models, twins.overlay(2, [top(twins)], ["i020"]))
    api.server.reload_repository()
    with pytest.raises(grpc.RpcError, match="start again at the first page") as expired:
        api.recommender.Recommend(request, timeout=60)
    assert expired.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def damaged_overlays(twins):
    """Return name -> (an overlay that must be refused, what the log says, what is wrong with its file)."""
    item = top(twins)
    short = top(twins)
    del short.embedding.factors[0]
    not_a_number = top(twins)
    not_a_number.embedding.factors[3] = float("nan")
    elsewhere = top(twins)
    elsewhere.embedding.embedding_space = "another"
    nameless = top(twins, "")
    return {
        "checksum": ([item], {}, "sha256: does not match", {"sha256": b"x" * 32}),
        "number": ([item], {}, "sequence: is 2, and the name of the file says 5", {"sequence": 5}),
        "space": ([item], {"embedding_space": "another"}, "embedding_space: is", {}),
        "space of an item": ([elsewhere], {}, r"added_items\[0\].embedding.embedding_space", {}),
        "factors": ([short], {}, r"added_items\[0\].embedding.factors: has 7 numbers; this version takes 8", {}),
        "NaN": ([not_a_number], {}, r"added_items\[0\].embedding.factors\[3\]: must be a number", {}),
        "id of the version": ([top(twins, "i005")], {}, "is an item of the version", {}),
        "no id": ([nameless], {}, "item_id: is empty", {}),
        "twice": ([item, item], {}, r"is that of added_items\[0\] too", {}),
        "unknown removed": ([], {"removed_item_ids": ["nothing"]}, "is not an item of the version", {}),
        "too many": ([Overlay.FromString(b"").added_items.add()] * 10_001, {}, "at most 10000", {}),
        "nothing left": ([], {"removed_item_ids": twins.item_ids}, "leaves no item", {}),
        "other version": ([item], {"version": "1", "name": "m", "embedding_space": ""}, "embedding_space", {}),
    }


@pytest.mark.parametrize(
    "damage",
    [
        *("checksum", "number", "space", "space of an item", "factors", "NaN", "id of the version", "no id", "twice"),
        *("unknown removed", "too many", "nothing left", "other version"),
    ],
)
def test_a_bad_overlay_is_refused_once_and_the_last_good_one_stays(shared, caplog, damage) -> None:
    api, models, twins = shared
    added, fields, message, file = damaged_overlays(twins)[damage]
    path = publish(models, twins.overlay(2, added, **fields), **file)
    try:
        with caplog.at_level(logging.ERROR):
            api.server.reload_repository()
            api.server.reload_repository()
        errors = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
        assert len(errors) == 1
        assert re.search(message, errors[0]), errors[0]
        assert "overlay 1 stays in force" in errors[0]
        assert (best(api)[0], sequence(api)) == ("new", 1)
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def shared(connect_to, versions, dot_version, tmp_path_factory):
    """Return a server with overlay 1, its repository, and its twins."""
    models = tmp_path_factory.mktemp("shared") / "models"
    versions.copy(dot_version, models, "m")
    twins = Twins(models / "m" / "1")
    publish(models, twins.overlay(1, [top(twins)]))
    with connect_to(models, poll_interval_s=0) as connection:
        yield connection, models, twins


def test_bytes_that_are_no_overlay_and_other_names_do_no_harm(shared, caplog) -> None:
    api, models, _ = shared
    folder = models / "m" / "overlays" / "1"
    (folder / "3.binpb").write_bytes(b"\xff\xff nothing")
    (folder / "notes.txt").write_text("not an overlay")
    (folder / "04.binpb").write_bytes(b"")
    (folder / "9.binpb").symlink_to(folder / "1.binpb")
    api.server.reload_repository()
    assert sequence(api) == 1
    assert "is not an OverlayFile" in caplog.text
    for name in ("3.binpb", "notes.txt", "04.binpb", "9.binpb"):
        (folder / name).unlink()


def test_a_folder_that_cannot_be_read_now_changes_nothing(shared, caplog, monkeypatch) -> None:
    api, _, _ = shared
    folders = api.server._live.source.overlays

    def fail(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(folders, "list", fail)
        api.server.reload_repository()
        api.server.reload_repository()
    assert caplog.text.count("cannot be read now") == 1
    assert sequence(api) == 1
    api.server.reload_repository()
    assert sequence(api) == 1


def test_a_version_of_another_architecture_takes_removals_and_no_additions(
    serve, net_version, versions, tmp_path, caplog
) -> None:
    models = tmp_path / "models"
    copied = versions.copy(net_version, models, "m")
    twins = Twins(copied)
    publish(models, twins.overlay(1, [], ["i020"]))
    api = serve(models, poll_interval_s=0)
    everything = best(api, page_size=130, include_rated=True)
    assert len(everything) == 119
    assert "i020" not in everything
    publish(models, twins.overlay(2, [twins.twin("i010", "new")]))
    api.server.reload_repository()
    assert "a version of architecture neural-network takes no added items" in caplog.text
    assert sequence(api) == 1


def test_removing_the_best_items_of_a_user_shows_the_next_ones(serve, models, twins) -> None:
    api = serve(models, poll_interval_s=0)
    everything = best(api, page_size=130)
    for n_removed in (1, 40, 100):
        publish(models, twins.overlay(n_removed, [], everything[:n_removed]))
        api.server.reload_repository()
        for page_size in (1, 5, 130):
            assert best(api, page_size=page_size) == everything[n_removed : n_removed + page_size]


def test_a_replaced_item_is_left_out_for_those_who_rated_the_old_one(serve, models, twins) -> None:
    api = serve(models, poll_interval_s=0)
    rated = set(best(api, page_size=130, include_rated=True)) - set(best(api, page_size=130))
    item_id = min(rated)
    publish(models, twins.overlay(1, [twins.twin("i010", item_id, title="The new one", bias=100.0)], [item_id]))
    api.server.reload_repository()
    assert item_id not in best(api, page_size=130)
    assert best(api, include_rated=True)[0] == item_id
    found = api.catalog.SearchItems(catalog_pb2.SearchItemsRequest(query="the new one"), timeout=60).items
    assert [item.item_id for item in found] == [item_id]


def test_a_filter_judges_a_replaced_item_by_what_it_is_now(shared) -> None:
    api, models, twins = shared
    old = next(
        item
        for item in api.catalog.SearchItems(catalog_pb2.SearchItemsRequest(query="The Film of 20"), timeout=60).items
        if item.item_id == "i020"
    )
    path = publish(models, twins.overlay(3, [twins.twin("i010", "i020", genres=["Fresh"])], ["i020"]))
    api.server.reload_repository()
    without_old_genres = pb.ItemFilter(excluded_genres=old.genres)
    for include_rated in (True, False):
        found = best(api, page_size=200, filter=without_old_genres, include_rated=include_rated)
        assert "i020" in found
    assert "i020" not in best(api, page_size=200, filter=pb.ItemFilter(any_genres=old.genres))
    path.unlink()
    api.server.reload_repository()


def test_an_index_of_candidates_finds_added_items_and_no_removed(serve, indexed_version, versions, tmp_path) -> None:
    pytest.importorskip("faiss")
    models = tmp_path / "models"
    twins = Twins(versions.copy(indexed_version, models, "m"))
    api = serve(models, poll_interval_s=0, approximate=True)
    user = pb.User(user_id="u0003")
    plain = best(api, user=user)
    publish(models, twins.overlay(1, [twins.twin(twins.item_ids[10], "new", bias=100.0)], [plain[1]]))
    api.server.reload_repository()
    assert best(api, user=user) == ["new", plain[0], *plain[2:]][:5]
