"""Locked folders are removed when their processes have ended, even by SIGKILL, and not earlier."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from cofactor_server.repository.locked_folder import (
    LockedFolder,
    lock_folder,
    remove_abandoned_folders,
    share_lock,
)

# Creates a folder, prints its path, and waits for a line on its input: "kill" kills the process, any other closes it.
HOLDER = """
import os, signal, sys
from pathlib import Path
from cofactor_server.repository.locked_folder import LockedFolder
folder = LockedFolder(Path(sys.argv[1]))
(folder.path / "tables.bin").write_bytes(b"x" * 100)
print(folder.path, flush=True)
if sys.stdin.readline() == "kill\\n":
    os.kill(os.getpid(), signal.SIGKILL)
folder.close()
"""
# Creates and closes folders as fast as it can; fails if another process removes one that is still locked.
RACER = """
import sys
from pathlib import Path
from cofactor_server.repository.locked_folder import LockedFolder
for _ in range(150):
    with LockedFolder(Path(sys.argv[1])) as folder:
        (folder.path / "a").write_text("a")
        assert (folder.path / "a").read_text() == "a"
    assert not folder.path.exists()
"""


@pytest.fixture
def hold(tmp_path):
    """Function that starts a process with a locked folder; returns the folder and a function that ends the process."""
    processes = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        folder = tmp_path / process.stdout.readline().strip()

        def end(how):
            process.communicate(how)
            return process.returncode

        return folder, end

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_the_next_process_removes_the_folder_of_a_killed_one_and_no_other(hold, tmp_path) -> None:
    (killed, kill), (alive, end) = hold(), hold()
    (tmp_path / "cofactor-of-somebody-else").mkdir()
    (tmp_path / "other").mkdir()
    assert kill("kill\n") == -9
    assert (killed / "tables.bin").exists(), "control: a killed process leaves its folder behind"
    with LockedFolder(tmp_path) as mine:
        assert not killed.exists()
        assert (alive / "tables.bin").exists()
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {mine.path.name, alive.name, "cofactor-of-somebody-else", "other"}
    assert end("close\n") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cofactor-of-somebody-else", "other"}


def test_processes_that_start_and_end_at_once_never_remove_a_locked_folder(tmp_path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACER, tmp_path], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [racer.communicate(timeout=60)[1].decode() for racer in racers]
    assert errors == [""] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_outlives_the_process_that_created_it(tmp_path) -> None:
    folder = LockedFolder(tmp_path)
    shared = share_lock(folder.path)
    os.close(folder._lock)  # as if its process was killed
    remove_abandoned_folders(tmp_path, "cofactor-")
    assert folder.path.exists()
    os.close(shared)
    remove_abandoned_folders(tmp_path, "cofactor-")
    assert not folder.path.exists()
    with pytest.raises(FileNotFoundError):
        share_lock(folder.path)


def test_links_are_not_followed_and_folders_of_other_users_stay(hold, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".lock").touch()
    (tmp_path / "cofactor-link").symlink_to(outside)
    foreign, kill = hold()
    kill("kill\n")
    if os.geteuid() == 0:
        os.chown(foreign, 12345, 12345)
    remove_abandoned_folders(tmp_path, "cofactor-")
    assert (outside / ".lock").exists()
    assert foreign.exists() == (os.geteuid() == 0)


def test_closing_a_folder_twice_is_harmless(tmp_path) -> None:
    folder = LockedFolder(tmp_path)
    folder.close()
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_a_server_removes_old_unused_copies_from_the_folder_given_by_copies(
    serve, dot_version, versions, tmp_path
) -> None:
    versions.copy(dot_version, tmp_path / "models")
    copies = tmp_path / "copies"
    old, young, named = copies / ("a" * 32), copies / ("b" * 32), copies / "mine"
    for folder in (old, young, named):
        folder.mkdir(parents=True)
    hours_ago = time.time() - 2 * 3600
    for folder in (old, named):
        os.utime(folder, (hours_ago, hours_ago))
    with LockedFolder(copies, ".copying-") as incomplete:
        serve(tmp_path / "models", copies=str(copies))
        assert incomplete.path.exists(), "another process is making a copy"
    left = {path.name for path in copies.iterdir()}
    assert {young.name, named.name} < left
    assert old.name not in left
    assert len(left) == 3, "the third is the copy that is served"


def test_a_lock_on_a_folder_excludes_others_and_leaves_no_file(tmp_path) -> None:
    with lock_folder(tmp_path, 0):
        with pytest.raises(BlockingIOError, match="another process is changing it"), lock_folder(tmp_path, 0):
            pass
        assert list(tmp_path.iterdir()) == []
    with lock_folder(tmp_path, 0):
        pass
