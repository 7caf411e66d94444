"""T1, T5, T6, T13: new versions under load, half-written ones, damaged ones, ones that do not work."""

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


def test_t1_swaps_under_load_drop_and_mix_nothing(versions, tmp_path) -> None:
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
                until(lambda n=number: current_version(channel) == str(n), 30, f"version {number} serves")
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
    assert outcome.rate >= least_rate, "an invalid run: too few requests"
    assert outcome.n_failed == 0, outcome.errors[:5]
    assert outcome.wrong == []
    assert len(outcome.versions) > 0.8 * n_swaps


def test_t1_control_a_mixed_answer_is_noticed(versions, tmp_path) -> None:
    """A server whose answers claim the wrong version must not pass the check of T1."""
    one, two = versions.models / versions.name / "1", versions.publish("2")
    manifest = json.loads((one / "manifest.json").read_text())
    shutil.copy(one / "tables.bin", two / "tables.bin")
    seal(two, json.dumps({**manifest, "version": "2"}))
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
            versions.draft(versions.models / versions.name / "2", "2")
        else:
            versions.publish("2")
        os._exit(min(step, 255))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Publisher:
    """Publishes version 2 in a process that is killed at one of its steps."""

    def __init__(self, source: Path, models: Path, script: Path) -> None:
        script.write_text(PUBLISHER)
        self._process = subprocess.Popen(
            [sys.executable, script, Path(__file__).parents[2], source, models],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def publish(self, way: str, stop_at: int) -> int:
        """The exit code: -9 when it was killed, else how many steps there are."""
        self._process.stdin.write(f"{way} {stop_at}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()


@pytest.mark.parametrize("way", ["by-rename", "in-place"])
def test_t5_a_publisher_killed_at_any_step_never_gets_a_partial_version_loaded(source, versions, tmp_path, way) -> None:
    """`in-place` writes straight into the version's folder, as a copy over a network does, the manifest last."""
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
    assert list(watcher.snapshot[versions.name].loaded) == ["2"], "the control: a complete version is loaded"


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def damages(folder: Path, chance: random.Random, n_flips: int) -> list[tuple[str, Path]]:
    """Folders beside `folder`, each damaged in one way."""
    made = []

    def another(name: str) -> Path:
        copy = folder.parent.parent.parent / "damaged" / str(len(made)) / folder.parent.name / folder.name
        shutil.copytree(folder, copy)
        made.append((name, copy))
        return copy

    files = sorted(path.name for path in folder.iterdir())
    for number in range(n_flips):
        # Half of the flips by size of file, half evenly over the files: the small ones matter as much.
        weights = [(folder / name).stat().st_size for name in files] if number % 2 else None
        name = chance.choices(files, weights)[0]
        flip(another(f"flip in {name}") / name, chance)
    for name in files:
        size = (folder / name).stat().st_size
        for length in sorted({0, 1, size // 2, size - 1}):
            path = another(f"{name} cut to {length}") / name
            path.write_bytes(path.read_bytes()[:length])
        path = another(f"{name} one byte longer") / name
        path.write_bytes(path.read_bytes() + b"\\0")
        (another(f"{name} missing") / name).unlink()
    return made


def test_t6_every_flipped_bit_and_every_truncation_is_refused(versions) -> None:
    n_flips = 300 if FULL else 40
    good = versions.models / versions.name / "1"
    accepted = []
    with figures("T6", flips=n_flips) as found:
        made = damages(good, random.Random(SEED), n_flips)
        for what, folder in made:
            try:
                load_version(folder)
            except ModelRefused:
                continue
            accepted.append(what)
        found.update(damaged=len(made), refused=len(made) - len(accepted))
    assert accepted == []
    assert load_version(good).key == f"{versions.name}/1", "the control: the undamaged version is accepted"


def test_t6_a_damaged_version_leaves_the_old_one_serving(versions, tmp_path) -> None:
    with (
        ServerProcess(versions.models, tmp_path / "log", *FAST_POLL) as server,
        Clients(versions, lambda: connect(f"127.0.0.1:{server.port}", retries=False), n_clients=2, rate=100) as clients,
    ):
        draft = tmp_path / "2"
        versions.draft(draft, "2")
        flip(draft / "tables.bin", random.Random(SEED))
        draft.rename(versions.models / versions.name / "2")
        until(lambda: "2 is not served" in server.text(), 20, "the refusal is reported")
        time.sleep(0.5)
    assert set(clients.outcome.versions) == {"1"}
    assert clients.outcome.n_failed == 0


def test_t13_a_version_whose_warm_up_fails_leaves_the_old_one_serving(versions, tmp_path) -> None:
    """Its files are whole and signed off by their checksums, and its graphs give other answers than its golden ones."""
    draft = tmp_path / "2"
    versions.draft(draft, "2")
    manifest = json.loads((draft / "manifest.json").read_text())
    body = bytearray((draft / "tables.bin").read_bytes())
    table = next(t for t in manifest["tables"] if t["name"] == "item_factors")
    rows = np.frombuffer(body, np.float32, int(np.prod([int(n) for n in table["shape"]])), int(table["offset"]))
    body[int(table["offset"]) : int(table["offset"]) + rows.nbytes] = (rows * 1.5).astype(np.float32).tobytes()
    (draft / "tables.bin").write_bytes(body)
    for file in manifest["files"]:
        if file["path"] == "tables.bin":
            file["sha256"] = hashlib.sha256(body).hexdigest()
    seal(draft, json.dumps(manifest))
    with (
        ServerProcess(versions.models, tmp_path / "log", *FAST_POLL) as server,
        Clients(versions, lambda: connect(f"127.0.0.1:{server.port}", retries=False), n_clients=2, rate=100) as clients,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        draft.rename(versions.models / versions.name / "2")
        until(lambda: "2 is not served" in server.text(), 20, "the refusal is reported")
        assert current_version(channel) == "1"
        versions.publish("3")
        until(lambda: current_version(channel) == "3", 20, "the control: a good version is taken up")
    assert set(clients.outcome.versions) <= {"1", "3"}
    assert clients.outcome.n_failed == 0
    assert clients.outcome.wrong == []
