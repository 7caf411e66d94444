"""Drop packets between clients and two servers, with nft in a network namespace of its own.

unshare --net --map-root-user python lost_packets.py VERSION FOLDER prints the results of the clients, one line of JSON
for "T12 loss" and one for "T12 partition".
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from tests.support.figures import FULL, figures
from tests.support.networks.network import UNPROTECTED, RecordingClients, start_servers
from tests.support.waiting import until


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def drop(port: int, condition: str = "") -> None:
    """Drop the packets to and from a port that meet the condition."""
    for side in ("dport", "sport"):
        run("nft", f"add rule inet faults packets tcp {side} {port} {condition} counter drop")


def heal() -> None:
    run("nft", "flush", "chain", "inet", "faults", "packets")


def n_dropped() -> int:
    return sum(map(int, re.findall(r"packets (\d+)", run("nft", "list", "ruleset"))))


def measure_loss(versions, ports) -> dict[str, object]:
    """Drop five percent of the packets in either direction."""
    seconds = 30.0 if FULL else 2.0
    for port in ports:
        drop(port, "numgen random mod 100 < 5")
    with RecordingClients(versions, ports, n_clients=16, rate=150, timeout_s=10) as clients:
        time.sleep(seconds)
    dropped = n_dropped()
    heal()
    return {"lost_percent": 5, "seconds": seconds, "dropped_packets": dropped, **summary(clients)}


def summary(clients: RecordingClients) -> dict[str, object]:
    outcome = clients.outcome
    for error in outcome.errors[:5]:
        print(error, file=sys.stderr)
    seconds = sorted(outcome.seconds)
    return {
        "requests": outcome.n_ok,
        "errors": outcome.n_failed,
        "wrong": len(outcome.wrong),
        "p50_ms": round(1e3 * seconds[len(seconds) // 2], 1),
        "p99_ms": round(1e3 * seconds[int(len(seconds) * 0.99)]),
        "slowest_s": round(seconds[-1], 2),
    }


def measure_partition(versions, ports) -> dict[str, object]:
    """Cut one of two servers off; in the short form of the test the clients have a shorter keepalive timeout."""
    cut_s, keepalive_timeout_s = (10.0, 5.0) if FULL else (3.0, 1.0)
    options = () if FULL else (("grpc.keepalive_timeout_ms", int(1e3 * keepalive_timeout_s)),)
    timeout_s = 0.7 * cut_s
    protected = RecordingClients(versions, ports, *options, n_clients=8, rate=120, timeout_s=timeout_s)
    bare = RecordingClients(versions, ports, *UNPROTECTED, n_clients=8, rate=40, timeout_s=timeout_s)
    with protected, bare:
        time.sleep(1.0)
        drop(ports[0])
        cut = time.monotonic()
        time.sleep(cut_s)
        heal()
        healed = time.monotonic()
        until(lambda: protected.reconnected_s("1", healed) < 60, 60, "both servers answer every client again")
        time.sleep(0.5)
    return {
        "cut_s": cut_s,
        "seconds": round(healed - cut + 1, 1),
        "deadline_s": round(timeout_s, 1),
        "keepalive_timeout_s": keepalive_timeout_s,
        "reconnected_s": round(protected.reconnected_s("1", healed), 2),
        "answers_across": protected.n_responses("1", cut + 0.2, healed),
        "errors_unprotected": bare.outcome.n_failed,
        **summary(protected),
    }


def main(version: str, folder: str) -> None:
    run("ip", "link", "set", "lo", "up")
    run("nft", "add table inet faults")
    run("nft", "add chain inet faults packets { type filter hook input priority 0; }")
    versions, servers = start_servers(Path(version), Path(folder))
    ports = [server.port for server in servers]
    try:
        for name, fault in (("T12 loss", measure_loss), ("T12 partition", measure_partition)):
            with figures(name) as found:
                found.update(fault(versions, ports))
    finally:
        heal()
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
