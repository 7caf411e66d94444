"""Two servers behind bad links, and clients that connect as the shipped one does."""

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
# A client that notices a dead connection only by the silence of its calls, and gives each call one chance.
UNPROTECTED = (("grpc.keepalive_time_ms", 2**31 - 1), ("grpc.enable_retries", 0))


class BadLink:
    """tests/support/link.py in a process of its own, in front of a port."""

    def __init__(self, port: int) -> None:
        program = Path(__file__).with_name("link.py")
        self._process = subprocess.Popen(
            [sys.executable, program, str(port), str(SEED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
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
    """Two servers; the first serves version 1, the second version 2, so that answers tell who gave them."""
    servers = []
    for version in ("1", "2"):
        models = folder / version / "models"
        (models / source.parent.name).mkdir(parents=True)
        versions = Versions(source, models)
        versions.publish(version)
        servers.append(ServerProcess(models, folder / version / "log", *FLAGS))
    return versions, servers


def connect_as_shipped(ports: Sequence[int], *options: tuple[str, int]) -> grpc.Channel:
    """The shipped client's channel, on a connection of its own."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    connection = Connection(addresses, channel_options=(("grpc.use_local_subchannel_pool", 1), *options))
    return grpc.insecure_channel(connection.target, connection.options)


class Witness:
    """Clients that also note when which server answered whom.

    Attributes:
        answers: (time.monotonic(), thread, version) of each answer.
    """

    def __init__(
        self,
        versions: Versions,
        ports: Sequence[int],
        *options: tuple[str, int],
        n_clients: int,
        rate: float,
        timeout_s: float,
    ) -> None:
        self.answers: list[tuple[float, int, str]] = []
        self.clients = Clients(
            versions, lambda: connect_as_shipped(ports, *options), n_clients, rate, timeout_s, self._check
        )

    def _check(self, versions: Versions, response: recommender_pb2.RecommendResponse, user: int) -> str:
        self.answers.append((time.monotonic(), threading.get_ident(), response.model.version))
        return check_recommendation(versions, response, user)

    def __enter__(self) -> Witness:
        self.clients.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.clients.__exit__(*error)

    def n_answers(self, version: str, begin: float, end: float) -> int:
        """Answers of one server within some time."""
        return sum(begin <= at < end and by == version for at, _, by in list(self.answers))

    def reconnected_s(self, version: str, healed: float) -> float:
        """The time after `healed` until the last of the clients had an answer from the server again."""
        first: dict[int, float] = {}
        for at, thread, by in list(self.answers):
            first.setdefault(thread, float("inf"))
            if by == version and at >= healed:
                first[thread] = min(first[thread], at)
        return max(first.values()) - healed
