"""Private copies shared by several watchers, as the worker processes of a server share them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cofactor_server.errors import ModelRefused
from cofactor_server.repository.locked_folder import share_lock
from cofactor_server.repository.sources import LocalSource
from cofactor_server.repository.version_copies import VersionCopies
from cofactor_server.repository.watcher import ModelWatcher

STAMP = "0123456789abcdef" * 2
# Locks a copy as another worker does, prints "locked", and ends when its input is closed.
HOLDER = """
import sys
from pathlib import Path
from cofactor_server.repository.locked_folder import share_lock
lock = share_lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def load(path: Path) -> str:
    try:
        text = (path / "manifest.json").read_text()
        table = (path / "tables.bin").read_text()
    except OSError as error:
        raise ModelRefused(f"model m refused: cannot read {Path(error.filename).name}") from None
    if table != text:
        raise ModelRefused("model m refused: tables.bin does not match")
    return text


class Loaded:
    """A version as the loader of these tests returns it."""

    def __init__(self, path: Path) -> None:
        self.text = load(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for version in "12":
        publish(tmp_path / "models", version)
    return tmp_path / "models"


def publish(root: Path, version: str, table: str | None = None) -> None:
    folder = root / "m" / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.bin").write_text(table or version)
    (folder / "manifest.json").write_text(version)


def promote(root: Path, version: str) -> None:
    (root / "m" / "serving.json").write_text(json.dumps({"labels": {"stable": version}, "latest": 1}))


def versions_in(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/m/*/manifest.json"))


def test_a_copy_that_one_worker_is_loading_is_not_removed_by_another_that_releases_it(root, tmp_path) -> None:
    """A version is promoted and rolled back while the slower worker is still loading it."""
    publish(root, "3")
    promote(root, "3")
    copies, loading, may_continue = tmp_path / "copies", threading.Event(), threading.Event()

    def load_slowly(path: Path) -> Loaded:
        if path.name == "1":
            loading.set()
            assert may_continue.wait(30)
        return Loaded(path)

    slow = ModelWatcher(LocalSource(root), load_slowly, copies)
    fast = ModelWatcher(LocalSource(root), Loaded, copies)
    slow.poll()
    fast.poll()
    promote(root, "1")
    polling = threading.Thread(target=slow.poll)
    polling.start()
    assert loading.wait(10)
    fast.poll()
    promote(root, "3")
    fast.poll()
    may_continue.set()
    polling.join(30)
    assert slow.snapshot["m"].refused == {}
    assert slow.snapshot["m"].loaded["1"].value.text == "1"
    assert versions_in(copies) == ["1", "3"]
    slow.poll()
    assert versions_in(copies) == ["3"], "the last worker to release a copy removes it"


def test_a_copy_stays_while_another_process_uses_it_and_is_removed_afterwards(root, tmp_path) -> None:
    copies = tmp_path / "copies"
    watcher = ModelWatcher(LocalSource(root), Loaded, copies)
    watcher.poll()
    (home,) = copies.iterdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        publish(root, "3")
        watcher.poll()
        assert versions_in(copies) == ["2", "3"]
        process.stdin.close()
    hours_ago = time.time() - 2 * 3600
    os.utime(home, (hours_ago, hours_ago))
    watcher.remove_stale_copies()
    assert versions_in(copies) == ["3"]


def test_an_old_copy_is_not_stale_while_a_process_uses_it(tmp_path) -> None:
    user, other = VersionCopies(tmp_path), VersionCopies(tmp_path)
    user.acquire("m", "1", STAMP, lambda folder: (folder / "manifest.json").touch())
    hours_ago = time.time() - 2 * 3600
    os.utime(tmp_path / STAMP, (hours_ago, hours_ago))
    other.remove_stale()
    assert versions_in(tmp_path) == ["1"]
    user.close()
    other.remove_stale()
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_not_refused_when_a_file_vanishes_from_its_private_copy(root, tmp_path) -> None:
    """A program that cleans up temporary files may remove it."""
    loads = []

    def lose_a_file(path: Path) -> Loaded:
        loads.append(path)
        if len(loads) == 1:
            (path / "tables.bin").unlink()
        return Loaded(path)

    watcher = ModelWatcher(LocalSource(root), lose_a_file, tmp_path / "copies")
    watcher.poll()
    assert watcher.snapshot["m"].refused == {}
    assert list(watcher.snapshot["m"].loaded) == ["2"]
    assert len(loads) == 2


def test_a_version_whose_copies_always_lose_files_waits_for_the_next_poll(root, tmp_path) -> None:
    loses_files = True

    def lose_a_file(path: Path) -> Loaded:
        if loses_files and path.name == "2":
            (path / "manifest.json").unlink()
        return Loaded(path)

    watcher = ModelWatcher(LocalSource(root), lose_a_file, tmp_path / "copies")
    watcher.poll()
    refusal = watcher.snapshot["m"].refused["2"]
    assert (refusal.reason, refusal.is_final) == (
        "cannot be loaded now: its private copies are damaged while they are read",
        False,
    )
    assert list(watcher.snapshot["m"].loaded) == ["1"]
    loses_files = False
    watcher.poll()
    assert list(watcher.snapshot["m"].loaded) == ["2"]


@pytest.mark.parametrize("damage", ["a file is missing", "a file is damaged", "the lock is missing"])
def test_a_damaged_copy_of_an_earlier_run_is_replaced(root, tmp_path, damage) -> None:
    copies = tmp_path / "copies"
    earlier = ModelWatcher(LocalSource(root), Loaded, copies)
    earlier.poll()
    earlier.stop()
    (home,) = copies.iterdir()
    if damage == "a file is missing":
        (home / "m" / "2" / "manifest.json").unlink()
    elif damage == "a file is damaged":
        (home / "m" / "2" / "tables.bin").write_text("damaged")
    else:
        (home / ".lock").unlink()
    watcher = ModelWatcher(LocalSource(root), Loaded, copies)
    watcher.poll()
    assert watcher.snapshot["m"].refused == {}
    assert list(watcher.snapshot["m"].loaded) == ["2"]
    os.close(share_lock(home))
    assert load(home / "m" / "2") == "2"


def test_an_intact_copy_of_an_earlier_run_is_reused(root, tmp_path) -> None:
    earlier = ModelWatcher(LocalSource(root), Loaded, tmp_path / "copies")
    earlier.poll()
    earlier.stop()
    (file,) = (tmp_path / "copies").glob("*/m/2/tables.bin")
    before = file.stat().st_ino
    ModelWatcher(LocalSource(root), Loaded, tmp_path / "copies").poll()
    assert file.stat().st_ino == before


def test_every_worker_refuses_a_bad_version_for_good(root, tmp_path) -> None:
    publish(root, "3", table="of another version")
    watchers = [ModelWatcher(LocalSource(root), Loaded, tmp_path / "copies") for _ in range(2)]
    for watcher in watchers:
        watcher.poll()
        assert list(watcher.snapshot["m"].loaded) == ["2"]
        assert watcher.snapshot["m"].refused["3"].is_final
    assert versions_in(tmp_path / "copies") == ["2"]


def test_workers_that_need_a_copy_at_the_same_time_share_one(root, tmp_path) -> None:
    """Four watchers start at the same moment, twenty times. With a copy each they would not share memory pages."""
    for number in range(20):
        copies = tmp_path / f"copies-{number}"
        start = threading.Barrier(4)
        watchers = [ModelWatcher(LocalSource(root), Loaded, copies) for _ in range(4)]

        def begin(watcher: ModelWatcher[Loaded], start: threading.Barrier = start) -> None:
            start.wait(10)
            watcher.poll()

        threads = [threading.Thread(target=begin, args=(watcher,)) for watcher in watchers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [list(watcher.snapshot["m"].loaded) for watcher in watchers] == [["2"]] * 4
        assert len(list(copies.iterdir())) == 1
        promote(root, "1")
        for watcher in watchers:
            watcher.poll()
            watcher.stop()
        (root / "m" / "serving.json").unlink()
        assert versions_in(copies) == ["1", "2"]
