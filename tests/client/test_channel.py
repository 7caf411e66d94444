"""Settings of the channel: addresses, TLS, tokens and the service config."""

import json

import pytest

from cofactor_client import Client, Tls
from cofactor_client._channel import Connection, target


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("recommender", "dns:///recommender:50051"),
        ("recommender:80", "dns:///recommender:80"),
        ("10.0.0.1", "dns:///10.0.0.1:50051"),
        ("[::1]", "dns:///[::1]:50051"),
        ("[::1]:80", "dns:///[::1]:80"),
        ("::1", "dns:///[::1]:50051"),
        ("unix:/run/cofactor.sock", "unix:/run/cofactor.sock"),
        ("dns:///a:1", "dns:///a:1"),
        (["10.0.0.1", "10.0.0.2:80"], "ipv4:10.0.0.1:50051,10.0.0.2:80"),
        (["[::1]:1", "[::2]:2"], "ipv6:[::1]:1,[::2]:2"),
    ],
)
def test_an_address_becomes_a_grpc_target(address, expected):
    assert target(address) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": ""}, "address: is empty"),
        ({"address": []}, "address: the list is empty"),
        ({"address": ["a.example", "b.example"]}, "one DNS name that resolves to all servers"),
        ({"address": ["10.0.0.1", "[::1]:1"]}, "either IPv4 or IPv6"),
        ({"timeout": 0}, "timeout: must be a positive number"),
        ({"timeout": float("nan")}, "timeout: must be a positive number"),
        ({"max_message_bytes": 0}, "max_message_bytes"),
        ({"address": "recommender:50051", "token": "secret"}, "plain text"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message) as raised:
        Client(**{"address": "localhost:1", **arguments})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("address", ["localhost:1", "127.0.0.1", "[::1]:1", "unix:/run/x.sock", ["127.0.0.1:1"]])
def test_a_token_may_be_sent_in_plain_text_on_this_machine(address):
    connection = Connection(address, token="secret")
    assert connection.metadata() == (("authorization", "Bearer secret"),)
    assert "secret" not in repr(connection)


def test_a_token_function_is_called_for_every_rpc():
    tokens = iter(["first", "second"])
    connection = Connection("localhost", token=lambda: next(tokens))
    assert [connection.metadata()[0][1] for _ in range(2)] == ["Bearer first", "Bearer second"]


def test_half_a_key_pair_is_refused():
    with pytest.raises(ValueError, match="give both"):
        Tls(certificate="client.pem")


def test_a_missing_certificate_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nobody\.pem"):
        Client("localhost:1", tls=Tls(ca=tmp_path / "nobody.pem"))


def test_the_service_config_balances_checks_health_and_retries():
    options = dict(Connection("localhost").options)
    config = json.loads(options["grpc.service_config"])
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["healthCheckConfig"] == {"serviceName": ""}
    assert config["methodConfig"][0]["retryPolicy"]["maxAttempts"] == 3
    assert set(config["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"]) == {"UNAVAILABLE", "CANCELLED"}


def test_channel_options_override_the_clients_own():
    connection = Connection("localhost", channel_options=[("grpc.max_receive_message_length", 5)])
    assert dict(connection.options)["grpc.max_receive_message_length"] == 5
