"""`cofactor load` counts what was answered, and when it was due."""

import json
import pickle
import time
from collections import Counter

import grpc
import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main
from cofactor_client._cli.load_test import load
from cofactor_client.errors import RpcError
from tests.support import synthetic

USERS = synthetic.make_dataset().user_ids[:5]


class SlowServer:
    """Stands for a client whose server takes its time for each call, one after the other."""

    def __init__(self, seconds, error=None):
        self.seconds, self.error, self.asked = seconds, error, []

    def recommend(self, user_id, k, **_):
        self.asked.append(user_id)
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error


def test_a_closed_loop_calls_as_fast_as_it_is_answered(address):
    with Client(address) as client:
        result = load(client, USERS, k=3, in_flight=2, rate=None, seconds=1.0)
    assert result.calls > 20
    assert result.failures == {}
    assert result.calls_per_second == pytest.approx(result.calls / result.seconds)
    assert list(result.latency_ms.values()) == sorted(result.latency_ms.values())


def test_an_open_loop_makes_the_calls_that_were_due():
    server = SlowServer(0.001)
    result = load(server, USERS, k=3, in_flight=4, rate=50, seconds=1.0)
    assert result.calls == 50
    assert Counter(server.asked) == dict.fromkeys(USERS, 10)


def test_an_open_loop_counts_the_wait_for_a_server_that_is_too_slow():
    server = SlowServer(0.05)
    result = load(server, USERS, k=3, in_flight=1, rate=100, seconds=0.5)
    assert server.asked == 10 * list(USERS), "in turn"
    # Calls are due every 10 ms and take 50: the last, due after 0.5 s, is answered after about 2.5 s.
    assert result.calls == 50
    assert result.latency_ms["max"] > 1500
    assert result.latency_ms["p50"] > 500


def test_failures_are_counted_by_reason():
    error = RpcError("busy", grpc.StatusCode.RESOURCE_EXHAUSTED)
    result = load(SlowServer(0.01, error), USERS, k=3, in_flight=1, rate=None, seconds=0.1)
    assert result.calls == 0
    assert result.latency_ms == {}
    assert set(result.failures) == {"RESOURCE_EXHAUSTED"}


def test_an_error_survives_a_process_pool():
    error = pickle.loads(pickle.dumps(RpcError("busy", grpc.StatusCode.RESOURCE_EXHAUSTED)))
    assert (error.message, error.status) == ("busy", grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_the_command_prints_rate_and_latency(address, capsys):
    arguments = ["load", *USERS, "--address", address, "--seconds", "0.3", "--rate", "20", "--json"]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["calls"] == 6
    assert set(answer["latency_ms"]) == {"p50", "p90", "p99", "p99.9", "max"}
    assert main([*arguments[:-1]]) == 0
    assert "latency, p99" in capsys.readouterr().out


def test_an_unknown_user_is_said_before_the_load_begins(address, capsys):
    assert main(["load", "nobody", "--address", address]) == 1
    assert "nobody" in capsys.readouterr().err
