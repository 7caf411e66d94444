"""Run three servers on hosts of their own, and break the network and the hosts under clients that balance the load.

A host is a network namespace with an address of its own, which a pair of virtual network cards joins to the clients.
A proxy on each host delays its bytes; the kernel drops packets on the way.

unshare --net --map-root-user python -m tests.support.networks.hosts VERSION FOLDER prints a line of JSON a fault.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.figures import FULL, figures
from tests.support.known_versions import Versions
from tests.support.networks.lost_packets import n_dropped, run, summary
from tests.support.networks.network import FLAGS, BadLink, RecordingClients
from tests.support.server_process import ServerProcess
from tests.support.waiting import until

DELAY_MS = 100
N_CLIENTS, RATE = 12, 150.0
# In the short form the clients have a shorter keepalive timeout.
CUT_S, KEEPALIVE_S = (10.0, 5.0) if FULL else (3.0, 1.0)
OPTIONS = () if FULL else (("grpc.keepalive_timeout_ms", int(1e3 * KEEPALIVE_S)),)


class Host:
    """A network namespace with a server, whose version has the number of the host.

    Attributes:
        address: host and port that the clients call.
    """

    def __init__(self, number: int, models: Path, log: Path) -> None:
        self.version = str(number)
        self._number, self._models, self._log = number, models, log
        self._ip = f"10.77.{number}.1"
        self._card = f"host{number}"
        # It must not hold the output open if a server does not start.
        keep = ["unshare", "--net", "sleep", "1200"]
        self._keeper = subprocess.Popen(keep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._has_own_network, 10, "the namespace is there")
        self._enter = ("nsenter", "--target", str(self._keeper.pid), "--net")
        run("ip", "link", "add", self._card, "type", "veth", "peer", "name", "eth0", "netns", str(self._keeper.pid))
        run("ip", "address", "add", f"10.77.{number}.254/24", "dev", self._card)
        run(*self._enter, "ip", "address", "add", f"{self._ip}/24", "dev", "eth0")
        for card in ("lo", "eth0"):
            run(*self._enter, "ip", "link", "set", card, "up")
        self.connect()
        self._server = self._start(port=0)
        self._link = BadLink(self._server.port, self._ip, self._enter)
        self.address = f"{self._ip}:{self._link.port}"

    def _has_own_network(self) -> bool:
        own = Path(f"/proc/{self._keeper.pid}/ns/net").readlink()
        return own != Path("/proc/self/ns/net").readlink()

    def _start(self, port: int) -> ServerProcess:
        return ServerProcess(self._models, self._log, *FLAGS, port=port, launcher=self._enter)

    def delay(self, seconds: float) -> None:
        """Delay every byte, in both directions together."""
        self._link(f"delay {seconds / 2} 0")

    def connect(self) -> None:
        run("ip", "link", "set", self._card, "up")

    def disconnect(self) -> None:
        """Let no packet pass; neither side is told."""
        run("ip", "link", "set", self._card, "down")

    def kill(self) -> None:
        """Kill the server and take the host off the network, as when a machine loses its power."""
        self.disconnect()
        self._server.process.kill()
        self._server.process.wait()

    def drain(self) -> int:
        """Stop the server as an orchestrator does, and return its exit code."""
        return self._server.stop(signal.SIGTERM)

    def restart(self) -> None:
        """Start a server on the same port, and connect the host."""
        self._server = self._start(self._server.port)
        self.connect()

    def close(self) -> None:
        self._link.close()
        self._server.stop()
        self._keeper.kill()
        self._keeper.wait()


class Cluster:
    """Three hosts."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.hosts: list[Host] = []
        for number in (1, 2, 3):
            models = folder / str(number) / "models"
            (models / source.parent.name).mkdir(parents=True)
            self.versions = Versions(source, models)
            self.versions.publish(str(number))
            self.hosts.append(Host(number, models, folder / str(number) / "log"))

    def clients(self, timeout_s: float = 10.0) -> RecordingClients:
        addresses = [host.address for host in self.hosts]
        return RecordingClients(self.versions, addresses, *OPTIONS, n_clients=N_CLIENTS, rate=RATE, timeout_s=timeout_s)


def imbalance(clients: RecordingClients, begin: float, end: float) -> float:
    """Return how far the busiest or the idlest host is from the mean number of responses, as a share of the mean."""
    counts = [clients.n_responses(version, begin, end) for version in ("1", "2", "3")]
    mean = sum(counts) / len(counts)
    return max(abs(count - mean) for count in counts) / mean


def measure_steady(cluster: Cluster) -> dict[str, object]:
    """Delay all bytes by 100 ms and lose five percent of the packets in either direction."""
    seconds = 30.0 if FULL else 3.0
    for host in cluster.hosts:
        host.delay(DELAY_MS / 1e3)
    run("nft", "add table inet faults")
    for hook in ("input", "output"):
        run("nft", f"add chain inet faults {hook} {{ type filter hook {hook} priority 0; }}")
        run("nft", f"add rule inet faults {hook} numgen random mod 100 < 5 counter drop")
    with cluster.clients() as clients:
        until(lambda: all(clients.n_responses(host.version, 0, 1e12) for host in cluster.hosts), 20, "all hosts answer")
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
    dropped = n_dropped()
    run("nft", "delete table inet faults")
    for host in cluster.hosts:
        host.delay(0)
    shared = round(imbalance(clients, began, ended), 3)
    return {
        "delay_ms": DELAY_MS,
        "lost_percent": 5,
        "dropped_packets": dropped,
        "imbalance": shared,
        **summary(clients),
    }


def measure_fault(
    cluster: Cluster, host: Host, fault: Callable[[], object], heal: Callable[[], object]
) -> dict[str, object]:
    """Break one host for some seconds; then it must get calls from every client again."""
    with cluster.clients(timeout_s=0.7 * CUT_S if FULL else 4 * CUT_S) as clients:
        until(lambda: clients.n_responses(host.version, 0, 1e12) > 10, 20, "the host answers")
        began = time.monotonic()
        fault()
        gone = time.monotonic()
        time.sleep(CUT_S)
        heal()
        healed = time.monotonic()
        until(lambda: clients.reconnected_s(host.version, healed) < 60, 60, "every client calls the host again")
        time.sleep(0.5)
    return {
        "seconds": round(healed - began, 1),
        "keepalive_timeout_s": KEEPALIVE_S,
        "answers_while_gone": clients.n_responses(host.version, gone + 0.2, healed),
        "reconnected_s": round(clients.reconnected_s(host.version, healed), 2),
        **summary(clients),
    }


def main(arguments: Sequence[str]) -> None:
    run("ip", "link", "set", "lo", "up")
    cluster = Cluster(*map(Path, arguments))
    first, second, third = cluster.hosts
    try:
        with figures("T15 steady") as found:
            found.update(measure_steady(cluster))
        with figures("T15 partition") as found:
            found.update(measure_fault(cluster, first, first.disconnect, first.connect))
        with figures("T15 host killed") as found:
            found.update(measure_fault(cluster, second, second.kill, second.restart))
        with figures("T15 host drained") as found:
            found.update(measure_fault(cluster, third, third.drain, third.restart))
    finally:
        for host in cluster.hosts:
            host.close()


if __name__ == "__main__":
    main(sys.argv[1:])
