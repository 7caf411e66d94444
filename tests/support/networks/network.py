"""Run two servers behind bad links, and clients that connect as the shipped client does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from cofactor.v1 import recommender_pb2
from cofactor_client._channel import Connection
from tests.support.checking_clients import Clients, check_recommendation
from tests.support.figures import SEED
from tests.support.known_versions import Versions
from tests.support.server_process import ServerProcess

FLAGS = ("--poll-interval-s", "0", "--drain-delay-s", "0", "--grace-s", "1")
# Channel options of a client without keepalive and retries.
UNPROTECTED = (("grpc.keepalive_time_ms", 2**31 - 1), ("grpc.enable_retries", 0))


class BadLink:
    """Runs tests/support/networks/link.py in a process of its own, in front of a port.

    `host` is the address that it listens on; `launcher` is a command that runs it elsewhere, as in a network namespace.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", launcher: Sequence[str] = ()) -> None:
        program = Path(__file__).with_name("link.py")
        command = [*launcher, sys.executable, str(program), str(port), str(SEED), host]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._process.stdout.readline())

    def __call__(self, command: str) -> None:
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def start_servers(source: Path, folder: Path) -> tuple[Versions, list[ServerProcess]]:
    """Start a server with version 1 and one with version 2, so that a response shows which server it comes from."""
    servers = []
    for version in ("1", "2"):
        models = folder / version / "models"
        (models / source.parent.name).mkdir(parents=True)
        versions = Versions(source, models)
        versions.publish(version)
        servers.append(ServerProcess(models, folder / version / "log", *FLAGS))
    return versions, servers


def connect_as_shipped(ports: Sequence[int | str], *options: tuple[str, int]) -> grpc.Channel:
    """Open the channel of the shipped client to ports of this machine or to addresses, on connections of its own."""
    addresses = [f"127.0.0.1:{port}" if isinstance(port, int) else port for port in ports]
    connection = Connection(addresses, channel_options=(("grpc.use_local_subchannel_pool", 1), *options))
    return grpc.insecure_channel(connection.target, connection.options)


class RecordingClients(Clients):
    """Clients that also record which server answered which client at what time.

    Attributes:
        responses: (time.monotonic(), thread, version) of every response.
    """

    def __init__(
        self,
        versions: Versions,
        ports: Sequence[int | str],
        *options: tuple[str, int],
        n_clients: int,
        rate: float,
        timeout_s: float,
    ) -> None:
        self.responses: list[tuple[float, int, str]] = []
        super().__init__(
            versions, lambda: connect_as_shipped(ports, *options), n_clients, rate, timeout_s, self._record
        )

    def _record(self, versions: Versions, response: recommender_pb2.RecommendResponse, user: int) -> str:
        self.responses.append((time.monotonic(), threading.get_ident(), response.model.version))
        return check_recommendation(versions, response, user)

    def n_responses(self, version: str, begin: float, end: float) -> int:
        """Return the number of responses of one server in a span of time."""
        return sum(begin <= at < end and by == version for at, _, by in list(self.responses))

    def reconnected_s(self, version: str, healed: float) -> float:
        """Return the seconds from `healed` until every client has had a response from this server again."""
        first: dict[int, float] = {}
        for at, thread, by in list(self.responses):
            first.setdefault(thread, float("inf"))
            if by == version and at >= healed:
                first[thread] = min(first[thread], at)
        return max(first.values()) - healed
