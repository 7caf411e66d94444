"""T15: three servers on hosts of their own: delay and loss, a partition, a host killed, and a host drained.

A host is a network namespace with an address of its own (tests/support/networks/hosts.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support.figures import FULL

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
IN_NAMESPACE = ("unshare", "--net", "--map-root-user")
# What a host needs: a namespace in a namespace, two virtual network cards, and rules that drop packets.
TRIAL = (
    "unshare --net sleep 20 & sleep 0.5; ip link add name card0 type veth peer name card1 netns $! "
    "&& nft add table inet t; code=$?; kill $!; exit $code"
)


def missing_for_hosts() -> str:
    """Return why this machine cannot run hosts in network namespaces; empty if it can."""
    missing = [tool for tool in ("unshare", "nsenter", "ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"there is no {', '.join(missing)}"
    tried = subprocess.run([*IN_NAMESPACE, "sh", "-c", TRIAL], capture_output=True, text=True)
    return tried.stderr.strip() or f"exit code {tried.returncode}" if tried.returncode else ""


def test_t15_three_hosts_share_the_load_and_clients_see_no_error(source, tmp_path) -> None:
    problem = missing_for_hosts()
    if problem:
        pytest.skip(f"T15: hosts cannot be simulated here: {problem}")
    done = subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-m", "tests.support.networks.hosts", source, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    steady, partition, killed, drained = map(json.loads, done.stdout.splitlines())
    for found in (steady, partition, killed, drained):
        assert (found["errors"], found["wrong"]) == (0, 0), done.stderr
        assert found["requests"] >= 100, "invalid run: too few requests"
    assert steady["dropped_packets"] > 0, "control: packets are lost"
    assert steady["p50_ms"] >= steady["delay_ms"], "control: bytes are delayed"
    assert steady["imbalance"] <= (0.2 if FULL else 0.35)  # few calls in the short form
    for found in (partition, killed, drained):
        assert found["answers_while_gone"] == 0, "control: the host is gone"
        assert found["reconnected_s"] <= (5 if FULL else 8)
    for found in (partition, killed):
        assert found["slowest_s"] <= found["keepalive_timeout_s"] + 2
    assert drained["slowest_s"] <= 3
