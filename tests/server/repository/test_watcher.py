"""ModelWatcher on versions of one file: what it loads, what is current, and what it does about bad versions."""

from __future__ import annotations

import gc
import json
import os
import shutil
import weakref
from pathlib import Path

import pytest

from cofactor_server.errors import ModelRefused
from cofactor_server.repository.sources import LocalSource, RemoteSource
from cofactor_server.repository.watcher import ModelWatcher


class Content:
    """A version as the loader of these tests returns it."""

    def __init__(self, text: str) -> None:
        self.text = text


def load(path: Path) -> Content:
    text = (path / "manifest.json").read_text()
    if text == "bad":
        raise ModelRefused(f"{path.parent.name}/{path.name} is bad")
    if text == "crash":
        raise RuntimeError("a bug")
    return Content(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def watcher(root: Path, tmp_path: Path) -> ModelWatcher[Content]:
    return ModelWatcher(LocalSource(root), load, tmp_path / "copies")


def publish(root: Path, version: str, text: str = "", model: str = "m") -> Path:
    folder = root / model / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(text or version)
    return folder


def write_policy(root: Path, **fields: object) -> None:
    (root / "m" / "serving.json").write_text(json.dumps(fields))


def served(watcher: ModelWatcher[Content]) -> tuple[list[str], str | None]:
    state = watcher.snapshot["m"]
    return list(state.loaded), state.routing.current if state.routing else None


def test_the_newest_version_replaces_the_one_before(root, watcher) -> None:
    publish(root, "2")
    watcher.poll()
    assert served(watcher) == (["2"], "2")
    publish(root, "10")
    watcher.poll()
    assert served(watcher) == (["10"], "10")


def test_a_replaced_version_serves_its_requests_and_is_then_freed_with_its_copy(root, watcher, tmp_path) -> None:
    publish(root, "1")
    watcher.poll()
    in_flight = watcher.snapshot["m"].loaded["1"].value
    freed = weakref.ref(in_flight)
    publish(root, "2")
    watcher.poll()
    assert in_flight.text == "1"
    del in_flight
    assert freed() is None
    assert len(list((tmp_path / "copies").iterdir())) == 1


def test_a_version_that_only_a_reference_cycle_keeps_alive_is_freed_by_the_next_poll(root, watcher) -> None:
    publish(root, "1")
    watcher.poll()
    content = watcher.snapshot["m"].loaded["1"].value
    content.own = content
    freed = weakref.ref(content)
    publish(root, "2")
    gc.disable()
    try:
        watcher.poll()
        watcher.poll()
        assert freed() is not None, "a request still uses it"
        del content
        watcher.poll()
        assert freed() is None
    finally:
        gc.enable()


def test_latest_pinned_and_labels_decide_which_versions_are_loaded(root, watcher) -> None:
    for version in "12345":
        publish(root, version)
    write_policy(root, latest=2, pinned=["1"], labels={"stable": "3"})
    watcher.poll()
    assert served(watcher) == (["5", "4", "3", "1"], "3")


@pytest.mark.parametrize("text", ["bad", "crash"])
def test_a_bad_version_is_reported_once_and_the_old_one_is_still_served(root, watcher, text, caplog) -> None:
    publish(root, "1")
    watcher.poll()
    publish(root, "2", text)
    watcher.poll()
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    assert "2" in watcher.snapshot["m"].refused
    assert caplog.text.count("version m/2 is not served") == 1


def test_a_bad_version_is_tried_again_on_demand_or_when_its_files_change(root, watcher, caplog) -> None:
    publish(root, "1")
    publish(root, "2", "bad")
    watcher.poll()
    watcher.poll(retry_refused=True)
    assert caplog.text.count("version m/2 is not served") == 2
    publish(root, "2", "fixed")
    watcher.poll()
    assert served(watcher) == (["2"], "2")
    assert watcher.snapshot["m"].refused == {}


def test_if_the_newest_versions_are_bad_the_next_older_one_is_served(root, watcher) -> None:
    publish(root, "1")
    publish(root, "2", "bad")
    publish(root, "3", "bad")
    watcher.poll()
    assert served(watcher) == (["1"], "1")


def test_moving_stable_to_a_bad_version_keeps_the_current_one(root, watcher) -> None:
    for version, text in (("1", ""), ("2", "bad"), ("3", "")):
        publish(root, version, text)
    write_policy(root, labels={"stable": "1"})
    watcher.poll()
    write_policy(root, labels={"stable": "2"})
    watcher.poll()
    assert served(watcher) == (["3", "1"], "1")


def test_a_loaded_version_is_still_served_when_its_files_are_damaged(root, watcher) -> None:
    folder = publish(root, "1")
    watcher.poll()
    (folder / "manifest.json").write_text("bad")
    watcher.poll()
    assert watcher.snapshot["m"].loaded["1"].value.text == "1"
    assert "1" in watcher.snapshot["m"].refused


def test_an_invalid_policy_leaves_the_previous_one_in_force(root, watcher, caplog) -> None:
    publish(root, "1")
    publish(root, "2")
    write_policy(root, labels={"stable": "1"})
    watcher.poll()
    (root / "m" / "serving.json").write_text('{"labels": ')
    watcher.poll()
    write_policy(root, canary_percent={"canary": 5})
    watcher.poll()
    assert served(watcher) == (["2", "1"], "1")
    assert "serving.json is not a serving policy" in caplog.text
    assert "the label canary is on no version" in caplog.text


def test_a_version_without_a_manifest_is_not_loaded(root, watcher) -> None:
    publish(root, "1")
    (root / "m" / "2").mkdir()
    (root / "m" / "2" / "tables.bin").write_bytes(b"half")
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    assert watcher.snapshot["m"].refused == {}


@pytest.mark.parametrize("loss", ["repository", "model", "versions"])
def test_loaded_versions_are_still_served_when_the_repository_vanishes(root, watcher, loss) -> None:
    publish(root, "1")
    watcher.poll()
    shutil.rmtree({"repository": root, "model": root / "m", "versions": root / "m" / "1"}[loss])
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    assert bool(watcher.repository_error) == (loss == "repository")
    publish(root, "2")
    watcher.poll()
    assert served(watcher) == (["2"], "2")
    assert watcher.repository_error == ""


def test_a_labelled_version_is_still_served_when_it_is_gone_from_the_repository(root, watcher) -> None:
    publish(root, "1")
    publish(root, "2")
    write_policy(root, labels={"stable": "1"})
    watcher.poll()
    shutil.rmtree(root / "m" / "1")
    watcher.poll()
    assert served(watcher) == (["2", "1"], "1")


def test_a_version_is_tried_again_after_the_disk_was_full(root, tmp_path) -> None:
    class FullOnce(LocalSource):
        full = True

        def copy(self, name: str, version: str, target: Path) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            super().copy(name, version, target)

    source = FullOnce(root)
    watcher = ModelWatcher(source, load, tmp_path / "copies")
    publish(root, "1")
    watcher.poll()
    assert watcher.snapshot["m"].refused["1"].reason == "cannot be loaded now: No space left on device"
    assert list((tmp_path / "copies").iterdir()) == []
    source.full = False
    watcher.poll()
    assert served(watcher) == (["1"], "1")


def test_links_in_a_version_are_not_followed(root, watcher, tmp_path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = publish(root, "1")
    (folder / "tables.bin").symlink_to(tmp_path / "secret")
    watcher.poll()
    assert not list((tmp_path / "copies").rglob("tables.bin"))


@pytest.mark.parametrize("target", ["outside", "inside"])
def test_links_to_versions_and_models_are_not_followed_and_logged_once(root, watcher, tmp_path, target, caplog) -> None:
    elsewhere = tmp_path / "elsewhere" if target == "outside" else root
    publish(root, "1")
    publish(elsewhere, "1", model="other")
    (root / "m" / "2").symlink_to(elsewhere / "other" / "1")
    (root / "linked").symlink_to(elsewhere / "other")
    watcher.poll()
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    assert "linked" not in watcher.snapshot
    assert caplog.text.count("is a link") == 2


def test_the_root_of_the_repository_may_be_a_link(root, tmp_path) -> None:
    publish(root, "1")
    (tmp_path / "current").symlink_to(root)
    watcher = ModelWatcher(LocalSource(tmp_path / "current"), load, tmp_path / "copies")
    watcher.poll()
    assert served(watcher) == (["1"], "1")


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("link", "serving.json is a link, and links are not followed; replace it with a file"),
        ("endless", "serving.json is a link, and links are not followed; replace it with a file"),
        ("pipe", "serving.json is not a plain file; replace it with a file"),
        ("folder", "serving.json is not a plain file; replace it with a file"),
        ("long", "serving.json is longer than 1048576 bytes; shorten it"),
    ],
)
def test_a_policy_is_read_only_from_a_plain_file_of_limited_size(
    root, watcher, tmp_path, kind, problem, caplog
) -> None:
    """A link could make the server read another file, and reading a pipe could take forever."""
    publish(root, "1")
    publish(root, "2")
    write_policy(root, labels={"stable": "1"})
    watcher.poll()
    path = root / "m" / "serving.json"
    path.rename(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text('{"labels": {"stable": "2"}}')
    make = {
        "link": lambda: path.symlink_to(tmp_path / "elsewhere.json"),
        "endless": lambda: path.symlink_to("/dev/zero"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "long": lambda: path.write_text('{"labels": {"stable": "2"}}' + " " * 2**20),
    }
    make[kind]()
    watcher.poll()
    assert served(watcher) == (["2", "1"], "1")
    assert watcher.repository_error == ""
    assert f"model m: {problem}; the previous policy stays in force" in caplog.text


def test_a_policy_is_not_written_through_a_link(root, tmp_path) -> None:
    publish(root, "1")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (root / "m" / "serving.json").symlink_to(victim)
    LocalSource(root).write_policy("m", "{}")
    assert victim.read_text() == "untouched"
    assert LocalSource(root).read_policy("m") == "{}"
    assert sorted(path.name for path in (root / "m").iterdir()) == ["1", "serving.json"]


def test_the_watcher_polls_in_the_background_until_it_is_stopped(root, watcher) -> None:
    publish(root, "1")
    seen: list[object] = []
    watcher._on_swap = lambda snapshot: (seen.append(snapshot), watcher._stopping.set())
    watcher.start(interval_s=0.01)
    watcher._thread.join(10)
    watcher.stop()
    assert served(watcher) == (["1"], "1")
    assert len(seen) == 1


def test_a_remote_repository_is_watched_like_a_folder(tmp_path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    watcher = ModelWatcher(RemoteSource(memory, "/watched"), load, tmp_path / "copies")
    watcher.poll()
    assert "FileNotFoundError" in watcher.repository_error
    memory.pipe_file("/watched/m/1/manifest.json", b"1")
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    memory.pipe_file("/watched/m/2/manifest.json", b"bad")
    memory.pipe_file("/watched/m/serving.json", b'{"labels": {"stable": "1"}}')
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    memory.pipe_file("/watched/m/2/manifest.json", b"fixed")
    watcher.poll()
    assert served(watcher) == (["2", "1"], "1")


def test_names_that_are_not_allowed_are_reported_once(root, watcher, caplog) -> None:
    publish(root, "1")
    publish(root, "2 beta")
    publish(root, "1", model="MyModel")
    publish(root, "1", model=".hidden")
    (root / "lost+found").mkdir()
    watcher.poll()
    watcher.poll()
    assert served(watcher) == (["1"], "1")
    assert caplog.text.count(f"ignoring {root}/MyModel: a model name has at most 64 lower-case letters") == 1
    assert caplog.text.count(f"ignoring {root}/m/2 beta: a version has at most 64 letters") == 1
    assert caplog.text.count("ignoring") == 2


def test_a_policy_that_names_a_version_that_does_not_exist_is_reported_once(root, watcher, caplog) -> None:
    publish(root, "1")
    write_policy(root, labels={"stable": "v1"})
    watcher.poll()
    watcher.poll()
    message = "serving.json of model m: it names versions that the repository does not have: v1"
    assert caplog.text.count(message) == 1
    publish(root, "v1")
    watcher.poll()
    assert served(watcher)[1] == "v1"


def test_an_invalid_policy_is_logged_when_it_changes_and_not_at_every_poll(root, watcher, caplog) -> None:
    publish(root, "1")
    for text in ("[]", "[]", '{"latest": -1}'):
        (root / "m" / "serving.json").write_text(text)
        watcher.poll()
    assert caplog.text.count("the previous policy stays in force") == 2
