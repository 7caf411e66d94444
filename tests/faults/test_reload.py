"""T1, T5, T6, T13: new versions under load, partial versions, damaged versions, versions that answer wrongly."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cofactor_server.config import ServerConfig
from cofactor_server.errors import ModelRefused
from cofactor_server.repository.sources import LocalSource
from cofactor_server.repository.version_directory import open_version_directory, verify_manifest_checksum
from cofactor_server.repository.watcher import ModelWatcher
from cofactor_server.serving.loaded_version import LoadedVersion
from tests.support.checking_clients import Clients, connect
from tests.support.figures import FULL, SEED, figures
from tests.support.known_versions import seal
from tests.support.server_process import ServerProcess, current_version
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

FAST_POLL = ("--poll-interval-s", "0.05")


def load_version(path: Path) -> LoadedVersion:
    verify_manifest_checksum(path)
    return LoadedVersion(
        open_version_directory(path), ["CPUExecutionProvider"], ServerConfig(models="", provider="cpu")
    )


def test_t1_swaps_under_load_drop_no_call_and_mix_no_versions(versions, tmp_path) -> None:
    n_swaps, least_rate = (200, 300) if FULL else (25, 100)
    with (
        figures("T1", swaps=n_swaps) as found,
        ServerProcess(versions.models, tmp_path / "log", *FAST_POLL) as server,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        target = f"127.0.0.1:{server.port}"
        with Clients(versions, lambda: connect(target, retries=False), rate=2 * least_rate) as clients:
            for number in range(2, n_swaps + 2):
                versions.publish(str(number))
                until(lambda n=number: current_version(channel) == str(n), 30, f"version {number} is served")
                if number > 5:
                    shutil.rmtree(versions.models / versions.name / str(number - 4))
        outcome = clients.outcome
        found.update(
            requests=sum(outcome.codes.values()),
            errors=outcome.n_failed,
            mixed=len(outcome.wrong),
            rate=round(outcome.rate),
            versions=len(outcome.versions),
            p99_ms=round(1e3 * np.quantile(outcome.seconds, 0.99), 1),
        )
    assert outcome.rate >= least_rate, "invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []
    assert len(outcome.versions) > 0.8 * n_swaps


def test_t1_control_a_wrong_version_is_noticed(versions, tmp_path) -> None:
    """A server whose responses name the wrong version must not pass the check of T1."""
    first, second = versions.models / versions.name / "1", versions.publish("2")
    manifest = json.loads((first / "manifest.json").read_text())
    shutil.copy(first / "tables.bin", second / "tables.bin")
    seal(second, json.dumps({**manifest, "version": "2"}))
    with (
        ServerProcess(versions.models, tmp_path / "log") as server,
        Clients(versions, lambda: connect(f"127.0.0.1:{server.port}"), n_clients=2) as clients,
    ):
        time.sleep(0.5)
    assert clients.outcome.n_ok > 0
    assert len(clients.outcome.wrong) == clients.outcome.n_ok


PUBLISHER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.known_versions import Versions, seal

root = sys.argv[3]
versions = Versions(Path(sys.argv[2]), Path(root))
step = stop_at = 0

def count(event, arguments):
    global step
    if event not in ("open", "os.rename", "os.mkdir"):
        return
    if any(str(a).startswith(root) for a in arguments if isinstance(a, (str, Path))):
        step += 1
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
for line in sys.stdin:
    way, stop_at = line.split()[0], int(line.split()[1])
    child = os.fork()
    if child == 0:
        step = 0
        if way == "in-place":
            versions.write(versions.models / versions.name / "2", "2")
        else:
            versions.publish("2")
        os._exit(min(step, 255))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Publisher:
    """Publishes version 2 in a process that is killed at a chosen step."""

    def __init__(self, source: Path, models: Path, script: Path) -> None:
        script.write_text(PUBLISHER)
        self._process = subprocess.Popen(
            [sys.executable, script, Path(__file__).parents[2], source, models],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def publish(self, way: str, stop_at: int) -> int:
        """Return the exit code: -9 if the process was killed, else the number of steps."""
        self._process.stdin.write(f"{way} {stop_at}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()


@pytest.mark.parametrize("way", ["by-rename", "in-place"])
def test_t5_a_partial_version_of_a_killed_publisher_is_never_loaded(source, versions, tmp_path, way) -> None:
    """`in-place` writes into the version directory itself, the manifest last, as a copy over a network does."""
    n_rounds = 50 if FULL else 2
    watcher = ModelWatcher(LocalSource(versions.models), load_version, tmp_path / "copies")
    folder = versions.models / versions.name

    def clean() -> None:
        for leftover in folder.glob("*2*"):
            shutil.rmtree(leftover)

    with (
        figures(f"T5 {way}", rounds=n_rounds) as found,
        Publisher(source, versions.models, tmp_path / "p.py") as publisher,
    ):
        n_steps = publisher.publish(way, 0)
        clean()
        killed = refused = 0
        for _, step in itertools.product(range(n_rounds), range(1, n_steps + 1)):
            assert publisher.publish(way, step) == -9
            killed += 1
            watcher.poll()
            state = watcher.snapshot[versions.name]
            assert list(state.loaded) == ["1"], f"killed at step {step}: {sorted(folder.rglob('*'))}"
            refused += "2" in state.refused
            clean()
        found.update(steps=n_steps, killed=killed, refused=refused, partial_versions_loaded=0)
        assert n_steps > 10
        assert publisher.publish(way, 0) == n_steps
    watcher.poll()
    assert list(watcher.snapshot[versions.name].loaded) == ["2"], "control: a complete version is loaded"


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def damaged_copies(folder: Path, chance: random.Random, n_flips: int) -> list[tuple[str, Path]]:
    """Make copies of a version directory that are damaged in one way each; return (damage, directory) pairs."""
    copies = []

    def copy_for(name: str) -> Path:
        copy = folder.parent.parent.parent / "damaged" / str(len(copies)) / folder.parent.name / folder.name
        shutil.copytree(folder, copy)
        copies.append((name, copy))
        return copy

    files = sorted(path.name for path in folder.iterdir())
    for number in range(n_flips):
        # Half of the flips are spread by file size, half evenly over the files: small files matter as much.
        weights = [(folder / name).stat().st_size for name in files] if number % 2 else None
        name = chance.choices(files, weights)[0]
        flip(copy_for(f"flip in {name}") / name, chance)
    for name in files:
        size = (folder / name).stat().st_size
        for length in sorted({0, 1, size // 2, size - 1}):
            path = copy_for(f"{name} cut to {length}") / name
            path.write_bytes(path.read_bytes()[:length])
        path = copy_for(f"{name} one byte longer") / name
        path.write_bytes(path.read_bytes() + b"\\0")
        (copy_for(f"{name} missing") / name).unlink()
    return copies


def test_t6_every_flipped_bit_and_every_truncation_is_refused(versions) -> None:
    n_flips = 300 if FULL else 40
    good = versions.models / versions.name / "1"
    accepted = []
    with figures("T6", flips=n_flips) as found:
        copies = damaged_copies(good, random.Random(SEED), n_flips)
        for damage, folder in copies:
            try:
                load_version(folder)
            except ModelRefused:
                continue
            accepted.append(damage)
        found.update(damaged=len(copies), refused=len(copies) - len(accepted))
    assert accepted == []
    assert load_version(good).key == f"{versions.name}/1", "control: the undamaged version is accepted"


def test_t6_a_damaged_version_leaves_the_old_one_serving(versions, tmp_path) -> None:
    with (
        ServerProcess(versions.models, tmp_path / "log", *FAST_POLL) as server,
        Clients(versions, lambda: connect(f"127.0.0.1:{server.port}", retries=False), n_clients=2, rate=100) as clients,
    ):
        directory = tmp_path / "2"
        versions.write(directory, "2")
        flip(directory / "tables.bin", random.Random(SEED))
        directory.rename(versions.models / versions.name / "2")
        until(lambda: "2 is not served" in server.text(), 20, "the refusal is reported")
        time.sleep(0.5)
    assert set(clients.outcome.versions) == {"1"}
    assert clients.outcome.n_failed == 0


def test_t13_a_version_whose_warm_up_fails_leaves_the_old_one_serving(versions, tmp_path) -> None:
    """The files match their checksums, but the graphs do not give the results of the golden cases."""
    directory = tmp_path / "2"
    versions.write(directory, "2")
    manifest = json.loads((directory / "manifest.json").read_text())
    tables = bytearray((directory / "tables.bin").read_bytes())
    table = next(entry for entry in manifest["tables"] if entry["name"] == "item_factors")
    rows = np.frombuffer(tables, np.float32, int(np.prod([int(n) for n in table["shape"]])), int(table["offset"]))
    tables[int(table["offset"]) : int(table["offset"]) + rows.nbytes] = (rows * 1.5).astype(np.float32).tobytes()
    (directory / "tables.bin").write_bytes(tables)
    for file in manifest["files"]:
        if file["path"] == "tables.bin":
            file["sha256"] = hashlib.sha256(tables).hexdigest()
    seal(directory, json.dumps(manifest))
    with (
        ServerProcess(versions.models, tmp_path / "log", *FAST_POLL) as server,
        Clients(versions, lambda: connect(f"127.0.0.1:{server.port}", retries=False), n_clients=2, rate=100) as clients,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        directory.rename(versions.models / versions.name / "2")
        until(lambda: "2 is not served" in server.text(), 20, "the refusal is reported")
        assert current_version(channel) == "1"
        versions.publish("3")
        until(lambda: current_version(channel) == "3", 20, "control: a good version is loaded")
    assert set(clients.outcome.versions) <= {"1", "3"}
    assert clients.outcome.n_failed == 0
    assert clients.outcome.wrong == []
