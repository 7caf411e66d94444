"""The load generator: calls, latency from the time a call was due, and failures."""

import json
import pickle
import time
from collections import Counter

import grpc
import pytest

from cofactor_client import Client
from cofactor_client.__main__ import main
from cofactor_client._cli.load_generator import generate_load
from cofactor_client.errors import RpcError
from tests.support import synthetic

USERS = synthetic.make_dataset().user_ids[:5]


class SlowClient:
    """Stands in for a client whose server takes the same time for every call."""

    def __init__(self, seconds, error=None):
        self.seconds, self.error, self.called = seconds, error, []

    def recommend(self, user_id, k, **_):
        self.called.append(user_id)
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error


def test_a_closed_loop_calls_again_after_each_response(address):
    with Client(address) as client:
        result = generate_load(client, USERS, k=3, in_flight=2, rate=None, seconds=1.0)
    assert result.calls > 20
    assert result.failures == {}
    assert result.calls_per_second == pytest.approx(result.calls / result.seconds)
    assert list(result.latency_ms.values()) == sorted(result.latency_ms.values())


def test_an_open_loop_makes_the_calls_that_were_due():
    client = SlowClient(0.001)
    result = generate_load(client, USERS, k=3, in_flight=4, rate=50, seconds=1.0)
    assert result.calls == 50
    assert Counter(client.called) == dict.fromkeys(USERS, 10)


def test_open_loop_latency_includes_the_wait_for_a_slow_server():
    client = SlowClient(0.05)
    result = generate_load(client, USERS, k=3, in_flight=1, rate=100, seconds=0.5)
    assert client.called == 10 * list(USERS), "users are called in turn"
    # Calls are due every 10 ms and take 50 ms: the last one is due after 0.5 s and ends after about 2.5 s.
    assert result.calls == 50
    assert result.latency_ms["max"] > 1500
    assert result.latency_ms["p50"] > 500


def test_failures_are_counted_by_reason():
    error = RpcError("busy", grpc.StatusCode.RESOURCE_EXHAUSTED)
    result = generate_load(SlowClient(0.01, error), USERS, k=3, in_flight=1, rate=None, seconds=0.1)
    assert result.calls == 0
    assert result.latency_ms == {}
    assert set(result.failures) == {"RESOURCE_EXHAUSTED"}


def test_an_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(RpcError("busy", grpc.StatusCode.RESOURCE_EXHAUSTED)))
    assert (error.message, error.status) == ("busy", grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_the_command_prints_calls_and_latency(address, capsys):
    arguments = ["load", *USERS, "--address", address, "--seconds", "0.3", "--rate", "20", "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["calls"] == 6
    assert set(result["latency_ms"]) == {"p50", "p90", "p99", "p99.9", "max"}
    assert main([*arguments[:-1]]) == 0
    assert "latency, p99" in capsys.readouterr().out


def test_an_unknown_user_fails_before_the_load_begins(address, capsys):
    assert main(["load", "nobody", "--address", address]) == 1
    assert "nobody" in capsys.readouterr().err
