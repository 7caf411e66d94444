"""Test the command with worker processes: it fails cleanly, and counts every call."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError
from cofactor_server.runtime.launcher import serve_with_workers
from cofactor_server.server import create_server
from tests.support.server_process import ServerProcess, free_port
from tests.support.waiting import until

REQUEST = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id="u003"))


@contextlib.contextmanager
def command(models: Path, log: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run cofactor-serve in a process group of its own, and kill what is left of the group."""
    program = [sys.executable, "-m", "cofactor_server", "--models", str(models), "--port", "0", "--provider", "cpu"]
    with log.open("wb") as output:
        process = subprocess.Popen([*program, *flags], stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_metrics_port_ends_the_command_with_one_line_and_leaves_no_process(
    served_models, tmp_path, workers
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ("--workers", str(workers), "--metrics-port", str(port), "--log-level", "error", "--drain-delay-s", "0")
        with command(served_models, tmp_path / "log", *flags) as process:
            assert process.wait(60) == 2
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
    log = (tmp_path / "log").read_text()
    assert (
        log == f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another --metrics-port\n"
    )


@pytest.mark.parametrize("first_workers", [1, 2])
@pytest.mark.parametrize("second_workers", [1, 2])
def test_a_second_server_on_the_same_port_is_refused(served_models, tmp_path, first_workers, second_workers) -> None:
    flags = () if first_workers == 1 else ("--workers", str(first_workers))
    with ServerProcess(served_models, tmp_path / "first", *flags, "--drain-delay-s", "0") as first:
        flags = ("--workers", str(second_workers), "--port", str(first.port))
        with command(served_models, tmp_path / "second", *flags) as second:
            assert second.wait(60) == 2
        *_, last = (tmp_path / "second").read_text().splitlines()
        assert last.startswith(f"error: cannot listen on 127.0.0.1 port {first.port}: ")
        assert first.process.poll() is None


def write_tokens(path: Path, token: str) -> None:
    """Write a token file that always has the same size and time."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    path.write_text(f'[clients.web]\nsha256 = "{digest}"\nmethods = ["*"]\n')
    os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.mark.parametrize("workers", [1, 2])
def test_signals_to_reload_do_not_end_the_server_and_reload_the_tokens(served_models, tmp_path, workers) -> None:
    tokens = tmp_path / "tokens.toml"
    write_tokens(tokens, "first")
    flags = ("--tokens", str(tokens), "--drain-delay-s", "0", *(("--workers", "2") if workers > 1 else ()))
    with ServerProcess(served_models, tmp_path / "log", *flags) as server:

        def is_accepted(token: str) -> bool:
            """Return True if every one of several connections accepts a token, so that all workers do."""
            return {code(token) for _ in range(8)} == {"OK"}

        def code(token: str) -> str:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
                recommend = recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend
                try:
                    recommend(REQUEST, timeout=30, metadata=(("authorization", f"Bearer {token}"),))
                except grpc.RpcError as error:
                    return error.code().name
                return "OK"

        assert is_accepted("first")
        for number, token in ((signal.SIGHUP, "two"), (signal.SIGUSR1, "three"), (signal.SIGUSR2, "four")):
            write_tokens(tokens, token)
            server.process.send_signal(number)
            until(lambda token=token: is_accepted(token), 60)
        tokens.write_text("not a token file")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "the old ones stay valid" in server.text(), 60)
        assert is_accepted("four")
        assert server.stop() == 0


def n_recommend_calls(port: int) -> float:
    """Return the number of Recommend calls in the metrics."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "cofactor_requests_total" and sample.labels["method"] == "Recommend"
    )


def test_calls_during_the_drain_of_workers_are_counted(served_models, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = free.getsockname()[1]
    log = tmp_path / "log"
    flags = ("--workers", "2", "--metrics-port", str(metrics), "--model", "dot", "--drain-delay-s", "2.5")
    with command(served_models, log, *flags) as process:
        until(lambda: "workers listening" in log.read_text(), 60, "the workers are up")
        port = re.search(r"workers listening on \S+ port (\d+)", log.read_text())[1]
        children = psutil.Process(process.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            recommend = recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend
            recommend(REQUEST, timeout=30)
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            until(lambda: log.read_text().count("stopping") == 2, 10, "the workers drain")
            time.sleep(0.2)
            for _ in range(10):
                recommend(REQUEST, timeout=30)
        psutil.wait_procs(workers, 30)
        assert n_recommend_calls(metrics) == 11
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_machine_without_a_temporary_folder_ends_the_command_with_one_line(dot_version, workers) -> None:
    """With a limit of 0 bytes per file, Python finds no temporary folder, as on a read-only root."""
    program = [sys.executable, "-m", "cofactor_server", "--models", str(dot_version.parents[1]), "--port", "0"]
    result = subprocess.run(
        ["prlimit", "--fsize=0", *program, "--workers", str(workers)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 2
    assert result.stderr == (
        "error: there is no temporary folder that can be written; name a folder that can be written with --copies\n"
    )


# The root folder of proc can be written by nobody.
NO_TEMPORARY_FOLDER = """
import sys, tempfile
tempfile.tempdir = "/proc"
from cofactor_server.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_copies_serve_a_machine_without_a_temporary_folder(dot_version, versions, tmp_path, workers) -> None:
    versions.copy(dot_version, tmp_path / "models")
    copies = tmp_path / "new" / "copies"
    flags = ("--copies", str(copies), *(("--workers", str(workers)) if workers > 1 else ()))
    program = ("-c", NO_TEMPORARY_FOLDER)
    with ServerProcess(tmp_path / "models", tmp_path / "log", *flags, program=program) as server:
        assert list(copies.glob("*/dot/1/manifest.json"))
        assert server.stop() == 0
    assert not list(copies.glob("cofactor-*")), "the folder of the supervisor is removed"


def test_copies_that_cannot_be_written_are_named(dot_version, versions, tmp_path) -> None:
    versions.copy(dot_version, tmp_path / "models")
    config = {"models": str(tmp_path / "models"), "port": 0, "provider": "cpu", "copies": "/proc/copies"}
    with pytest.raises(ConfigurationError, match=r"dot/1 cannot be loaded now: .* \(its copy goes to --copies /proc"):
        create_server(ServerConfig(**config))
    with pytest.raises(ConfigurationError, match=r"cannot write to --copies /proc/copies: "):
        serve_with_workers(ServerConfig(workers=2, **config))


def test_a_reload_over_the_admin_api_reaches_all_workers(dot_version, versions, tmp_path) -> None:
    versions.copy(dot_version, tmp_path / "models")
    admin_port = free_port()
    flags = ("--workers", "3", "--poll-interval-s", "0", "--admin-port", str(admin_port), "--drain-delay-s", "0")
    with ServerProcess(tmp_path / "models", tmp_path / "log", *flags) as server:
        versions.copy(dot_version, tmp_path / "models", version="2")
        with grpc.insecure_channel(f"127.0.0.1:{admin_port}") as channel:
            admin_pb2_grpc.AdminServiceStub(channel).Reload(admin_pb2.ReloadRequest(), timeout=60)
        until(lambda: server.text().count("loaded dot/2") == 3, 60, "every worker has loaded the new version")
