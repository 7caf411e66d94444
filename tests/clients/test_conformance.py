"""The example clients of all languages behave the same on a real server."""

from __future__ import annotations

import time

import grpc
import pytest
from grpc_health.v1 import health_pb2

from cofactor.v1 import catalog_pb2, recommender_pb2
from tests.clients.conftest import run_reference, serve

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

TOKEN = "0123456789abcdef"
SHOP_ARGUMENTS = ("c04", "tea")
SERVICES = (
    recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"],
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"],
)
METHODS = {f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
RECOMMEND = "/cofactor.v1.RecommenderService/Recommend"
GET_MODEL = "/cofactor.v1.CatalogService/GetModel"


@pytest.fixture(scope="module")
def shop_server(shop_version):
    with serve(shop_version) as running:
        yield f"127.0.0.1:{running.port}"


@pytest.fixture(scope="module")
def shop_lines(shop_server):
    """Lines of the reference client on a model that learnt from events."""
    return run_reference(shop_server, SHOP_ARGUMENTS).splitlines()


def test_the_reference_prints_every_kind_of_line(expected):
    kinds = list(dict.fromkeys(line.split()[0] for line in expected.splitlines()))
    assert kinds[:9] == ["model", "limits", "listed", "search", "top", "map", "predict", "recommend", "similar"]
    assert kinds[9:17] == ["embed", "new-item", "batch", "stream", "explain", "because", "ranking", "moved"]
    assert set(kinds[17:]) == {"error", "reason", "violation"}
    assert "batch 2 error USER_NOT_FOUND" in expected


def test_prints_the_same_lines(example, server, expected):
    done = example.run(server)
    assert done.stderr == ""
    assert done.stdout.splitlines() == expected.splitlines()
    assert done.returncode == 0


def test_shows_the_events_of_a_model_that_learnt_from_events(example, shop_server, shop_lines):
    assert "event 3.00 360 positive purchase" in shop_lines
    assert "event 0.00 60 negative return" in shop_lines
    assert not [line for line in shop_lines if line.startswith("predict")]
    assert next(line for line in shop_lines if line.startswith("embed ")).split()[-1] == "3"
    done = example.run(shop_server, arguments=SHOP_ARGUMENTS)
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (shop_lines, "", 0)


def test_calls_every_method_once(example, proxy):
    assert example.run(f"127.0.0.1:{proxy.port}").returncode == 0
    assert dict(proxy.calls) == dict.fromkeys(METHODS, 1) | {RECOMMEND: 2}  # the second call is the deliberate error


def test_retries_after_unavailable_and_cancelled(example, secure_proxy, authority, expected):
    """Retries over TLS, with a token."""
    secure_proxy.failures = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    done = example.run(f"localhost:{secure_proxy.port}", tls_ca=str(authority.authority), token=TOKEN, timeout="20")
    assert done.stdout.splitlines() == expected.splitlines(), done.stderr
    assert dict(secure_proxy.calls) == dict.fromkeys(METHODS, 3) | {RECOMMEND: 4}


def test_gives_up_after_three_attempts(example, proxy):
    proxy.failures = (grpc.StatusCode.UNAVAILABLE,) * 10
    done = example.run(f"127.0.0.1:{proxy.port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error 14 ")
    assert dict(proxy.calls) == {GET_MODEL: 3}


def test_does_not_retry_after_another_error(example, proxy):
    proxy.failures = (grpc.StatusCode.RESOURCE_EXHAUSTED,)
    done = example.run(f"127.0.0.1:{proxy.port}")
    assert (done.returncode, done.stderr.split()[:2]) == (1, ["error", "8"])
    assert dict(proxy.calls) == {GET_MODEL: 1}


def test_keeps_the_deadline(example, proxy):
    proxy.delay_s = 8.0
    arrived = []  # measure from here: programs take time to start
    proxy.on_arrival = lambda: arrived.append(time.monotonic())
    done = example.run(f"127.0.0.1:{proxy.port}", timeout="1")
    assert time.monotonic() - arrived[0] < 6
    assert (done.returncode, done.stderr.split()[:2]) == (1, ["error", "4"])


def test_prints_the_same_lines_over_tls_with_a_token(example, guarded_server, authority, expected):
    done = example.run(guarded_server, tls_ca=str(authority.authority), token=TOKEN)
    assert done.stdout.splitlines() == expected.splitlines(), done.stderr


def test_prints_why_a_token_was_refused(example, guarded_server, authority):
    done = example.run(guarded_server, tls_ca=str(authority.authority), token="wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error 16 ")
    assert "reason UNAUTHENTICATED cofactor" in done.stderr


def test_never_sends_a_token_in_plain_text(example, proxy):
    done = example.run(f"127.0.0.1:{proxy.port}", token=TOKEN)
    assert done.returncode == 2
    assert done.stderr.strip() == "COFACTOR_TOKEN would travel in plain text: set COFACTOR_TLS_CA"
    assert not proxy.calls


def test_does_not_trust_another_authority(example, secure_proxy, other_authority):
    address = f"localhost:{secure_proxy.port}"
    done = example.run(address, tls_ca=str(other_authority.authority), token=TOKEN, timeout="1")
    assert done.returncode == 1
    assert not secure_proxy.calls


def test_sends_nothing_to_a_server_that_is_not_serving(example, proxy, request):
    if example.language == "typescript":
        reason = "grpc-js 1.14 ignores healthCheckConfig"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    proxy.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    done = example.run(f"127.0.0.1:{proxy.port}", timeout="1")
    assert done.returncode == 1
    assert not proxy.calls
