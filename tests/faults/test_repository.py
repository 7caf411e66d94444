"""T7, T14: loads and unloads by many threads; a full disk, a read-only repository, a missing repository."""

from __future__ import annotations

import gc
import subprocess
import threading
import time

import grpc
import psutil
import pytest

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_server.serving.loaded_version import LoadedVersion
from tests.support.checking_clients import Clients, connect
from tests.support.figures import FULL, figures
from tests.support.server_process import ServerProcess, current_version, free_port
from tests.support.small_disks import small_disk
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

MIB = 2**20


def load_by_many_threads(path, n_threads: int, n_loads: int, loaded: list[LoadedVersion]) -> list[BaseException]:
    config = ServerConfig(models="", provider="cpu", batching="off")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(n_loads // n_threads):
                version = LoadedVersion(open_version_directory(path), ["CPUExecutionProvider"], config)
                if len(loaded) < max_loaded:
                    loaded.append(version)
        except BaseException as error:
            errors.append(error)

    max_loaded = n_loads if loaded else 0  # an empty list asks to unload every version
    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    return errors


def test_t7_loads_and_unloads_by_many_threads_leak_no_memory(versions) -> None:
    n_threads, n_loads = (32, 1024) if FULL else (8, 48)
    path = versions.models / versions.name / "1"
    process = psutil.Process()
    with figures("T7", threads=n_threads, loads=n_loads) as found:
        assert load_by_many_threads(path, n_threads, n_threads * 2, []) == []
        warm = process.memory_info().rss
        assert load_by_many_threads(path, n_threads, n_loads, []) == []
        grown = process.memory_info().rss - warm
        loaded: list[LoadedVersion] = [
            LoadedVersion(open_version_directory(path), ["CPUExecutionProvider"], ServerConfig(models=""))
        ]
        before = process.memory_info().rss
        n_leaked = n_loads // 4
        assert load_by_many_threads(path, n_threads, n_leaked, loaded) == []
        leaked = process.memory_info().rss - before
        found.update(grown_mib=round(grown / MIB, 1), control_grown_mib=round(leaked / MIB, 1), control_loads=n_leaked)
        bound = max(n_loads * leaked / n_leaked / 20, 8 * MIB)
    assert leaked > 0.1 * MIB * n_leaked, "control: loaded versions take memory"
    assert grown < bound, "more than a twentieth of the memory of loaded versions"


def test_t14_a_full_disk_leaves_the_old_version_serving_until_there_is_room(versions, tmp_path) -> None:
    version_size = sum(file.stat().st_size for file in (versions.models / versions.name / "1").iterdir())
    with (
        small_disk(tmp_path / "disk", f"{int(version_size * 2.6) // 1024}k") as disk,
        ServerProcess(
            versions.models, tmp_path / "log", "--poll-interval-s", "0.1", "--copies", str(disk / "copies")
        ) as server,
        Clients(versions, lambda: connect(f"127.0.0.1:{server.port}", retries=False), n_clients=2, rate=100) as clients,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        (disk / "ballast").write_bytes(b"x" * int(version_size * 1.2))
        versions.publish("2")
        until(lambda: "No space left on device" in server.text(), 20, "the full disk is reported")
        assert current_version(channel) == "1"
        (disk / "ballast").unlink()
        until(lambda: current_version(channel) == "2", 20, "control: with room the version is loaded")
    assert clients.outcome.n_failed == 0
    assert clients.outcome.wrong == []


def test_t14_a_missing_repository_leaves_its_version_serving(versions, tmp_path) -> None:
    with (
        ServerProcess(versions.models, tmp_path / "log", "--poll-interval-s", "0.05") as server,
        Clients(versions, lambda: connect(f"127.0.0.1:{server.port}", retries=False), n_clients=2, rate=100) as clients,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        versions.models.rename(tmp_path / "gone")
        until(lambda: "the model repository cannot be read" in server.text(), 20, "the loss is reported")
        time.sleep(0.5)
        (tmp_path / "gone").rename(versions.models)
        versions.publish("2")
        until(lambda: current_version(channel) == "2", 20, "control: the repository is watched again")
    assert clients.outcome.n_failed == 0
    assert clients.outcome.wrong == []


def test_t14_a_read_only_repository_is_served_and_promote_says_why_it_fails(versions, tmp_path) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        subprocess.run(["cp", "-r", str(versions.models), str(disk / "models")], check=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        admin_port = free_port()
        flags = ("--poll-interval-s", "0.05", "--admin-port", str(admin_port))
        with (
            ServerProcess(disk / "models", tmp_path / "log", *flags) as server,
            connect(f"127.0.0.1:{server.port}") as channel,
            connect(f"127.0.0.1:{admin_port}", balanced=False, retries=False) as admin_channel,
        ):
            admin = admin_pb2_grpc.AdminServiceStub(admin_channel)
            promote = admin_pb2.PromoteRequest(name=versions.name, version="1")
            with pytest.raises(grpc.RpcError) as refused:
                admin.Promote(promote, timeout=10)
            assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert "Read-only file system" in refused.value.details()
            assert current_version(channel) == "1"
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            response = admin.Promote(promote, timeout=10)
            assert response.policy.labels == {"stable": "1"}, "control: a writable repository is changed"
