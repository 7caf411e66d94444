"""Folders of servers that are gone, however they went, and of servers that are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from cofactor_server.repository.locked_folder import LockedFolder, remove_abandoned, share_folder

# Makes a folder, says so, and does what the next line on its input says: "kill", or closes it.
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
# Makes and closes folders as fast as it can; fails if somebody else removes one that it holds.
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
    """Starts processes that hold a folder; ending one kills it or has it close the folder."""
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


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one_and_no_other_is(hold, tmp_path) -> None:
    (killed, kill), (alive, end) = hold(), hold()
    (tmp_path / "cofactor-of-somebody-else").mkdir()
    (tmp_path / "other").mkdir()
    assert kill("kill\n") == -9
    assert (killed / "tables.bin").exists(), "the control: a killed process leaves it"
    with LockedFolder(tmp_path) as mine:
        assert not killed.exists()
        assert (alive / "tables.bin").exists()
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {mine.path.name, alive.name, "cofactor-of-somebody-else", "other"}
    assert end("close\n") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cofactor-of-somebody-else", "other"}


def test_processes_that_start_and_end_together_never_remove_what_is_held(tmp_path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACER, tmp_path], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [racer.communicate(timeout=60)[1].decode() for racer in racers]
    assert errors == [""] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_outlives_the_process_that_made_it(tmp_path) -> None:
    made = LockedFolder(tmp_path)
    shared = share_folder(made.path)
    os.close(made._lock)  # as when its process is killed
    remove_abandoned(tmp_path, "cofactor-")
    assert made.path.exists()
    os.close(shared)
    remove_abandoned(tmp_path, "cofactor-")
    assert not made.path.exists()
    with pytest.raises(FileNotFoundError):
        share_folder(made.path)


def test_a_link_is_not_followed_and_another_users_folder_is_left_alone(hold, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".lock").touch()
    (tmp_path / "cofactor-link").symlink_to(outside)
    foreign, kill = hold()
    kill("kill\n")
    if os.geteuid() == 0:
        os.chown(foreign, 12345, 12345)
    remove_abandoned(tmp_path, "cofactor-")
    assert (outside / ".lock").exists()
    assert foreign.exists() == (os.geteuid() == 0)


def test_a_folder_is_closed_once(tmp_path) -> None:
    folder = LockedFolder(tmp_path)
    folder.close()
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_copies_that_no_server_needs_go_from_a_folder_of_ones_own(serve, dot_version, versions, tmp_path) -> None:
    versions.copy(dot_version, tmp_path / "models")
    copies = tmp_path / "copies"
    old, young, named = copies / ("a" * 32), copies / ("b" * 32), copies / "mine"
    for folder in (old, young, named):
        folder.mkdir(parents=True)
    hours_ago = time.time() - 2 * 3600
    for folder in (old, named):
        os.utime(folder, (hours_ago, hours_ago))
    with LockedFolder(copies, ".copying-") as draft:
        serve(tmp_path / "models", copies=str(copies))
        assert draft.path.exists(), "somebody copies at this moment"
    left = {path.name for path in copies.iterdir()}
    assert {young.name, named.name} < left
    assert old.name not in left
    assert len(left) == 3, "and the copy that is served"
