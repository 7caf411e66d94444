"""`cofactor health` tells a probe whether the server is serving, over TLS as well."""

from __future__ import annotations

import json
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cofactor_client.__main__ import main
from tests.client.test_security import Authority

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def probed(tmp_path):
    """A gRPC server with the health service only -> (service, plain address, TLS port, authority's file)."""
    authority = Authority(tmp_path)
    certificate, key = (path.read_bytes() for path in authority.issue("server"))
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    plain = server.add_insecure_port("127.0.0.1:0")
    secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    yield service, f"127.0.0.1:{plain}", f"localhost:{secure}", authority.file
    server.stop(0)


def test_a_server_that_serves_is_healthy_in_plain_text_and_over_tls(probed, capsys):
    service, plain, secure, authority = probed
    service.set("", SERVING)
    assert main(["health", "--address", plain, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"address": plain, "status": "SERVING"}
    assert main(["health", "--address", secure, "--ca", str(authority)]) == 0


def test_a_server_that_drains_is_not_healthy(probed, capsys):
    service, plain, _, _ = probed
    service.set("", NOT_SERVING)
    assert main(["health", "--address", plain, "--timeout", "0.5"]) == 1
    assert "was ready within 0.5 s" in capsys.readouterr().err


def test_a_real_server_is_healthy(address, capsys):
    assert main(["health", "--address", address]) == 0
    assert capsys.readouterr().out == f"{address} is serving\n"
