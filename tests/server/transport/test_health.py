"""Test the health service: its watches hold no thread, and nobody can use them up."""

from __future__ import annotations

import contextlib
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor.v1.recommender_pb2 import RecommendRequest, User
from cofactor_server.transport import health
from tests.support.raw_http2 import RawConnection
from tests.support.waiting import until

REQUEST = RecommendRequest(user=User(user_id="u003"))
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
LIMIT = health.MAX_WATCHES_PER_CONNECTION


@contextlib.contextmanager
def connections(api, number):
    """Open connections to a server, each of its own; yield stubs of its health service."""
    with contextlib.ExitStack() as open_channels:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.insecure_channel(f"127.0.0.1:{api.server.port}", options) for _ in range(number)]
        yield [health_pb2_grpc.HealthStub(open_channels.enter_context(channel)) for channel in channels]


def watch(stub, service=""):
    return stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=120)


def remaining(call):
    """Return the statuses of a watch until it ends, and the code with which it ends."""
    statuses = []
    try:
        statuses.extend(response.status for response in call)
    except grpc.RpcError as error:
        return statuses, error.code()
    return statuses, grpc.StatusCode.OK


def stop_at_once(server, meanwhile=lambda: None):
    """Stop a server; fail if it waits for its grace, which is longer."""
    stopping = threading.Thread(target=server.stop, daemon=True)
    stopping.start()
    until(lambda: meanwhile() or not stopping.is_alive(), 60, "the server has stopped")


def test_hundreds_of_watches_hold_no_thread_and_shut_out_nobody(serve, served_models) -> None:
    api = serve(served_models, model="dot", threads=2, grace_s=600)
    assert api.recommender.Recommend(REQUEST, timeout=60).results
    with connections(api, 6) as stubs:
        for stub in stubs:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
        n_threads = threading.active_count()
        watches = [watch(stub) for stub in stubs for _ in range(LIMIT)]
        assert {next(call).status for call in watches} == {SERVING}
        assert threading.active_count() <= n_threads + 8, "grpcio's client has a few threads itself"
        assert api.server.pools.watches.n_calls == 0
        with connections(api, 1) as (honest,):
            assert next(watch(honest)).status == SERVING
        assert api.recommender.Recommend(REQUEST, timeout=60).results
        stop_at_once(api.server)
        ends = [remaining(call) for call in watches]
        assert {code for _, code in ends} == {grpc.StatusCode.UNAVAILABLE}


def test_a_connection_has_a_limited_number_of_watches(serve, served_models) -> None:
    api = serve(served_models, model="dot")
    with connections(api, 2) as (greedy, honest):
        watches = [watch(greedy) for _ in range(LIMIT)]
        assert {next(call).status for call in watches} == {SERVING}
        with pytest.raises(grpc.RpcError, match="open watches already") as refused:
            next(watch(greedy))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert next(watch(honest)).status == SERVING
        watches.pop().cancel()

        def is_taken():
            with contextlib.suppress(grpc.RpcError):
                return next(watch(greedy)).status == SERVING

        until(is_taken, 60)


@pytest.mark.parametrize("service", ["", *health.SERVICES])
def test_a_watch_sees_every_change_of_a_known_service(serve, served_models, service) -> None:
    api = serve(served_models, model="dot")
    with connections(api, 1) as (stub,):
        call, unknown = watch(stub, service), watch(stub, "no.such.Service")
        assert next(call).status == SERVING
        assert next(unknown).status == UNKNOWN
        for serving, status in ((False, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)):
            api.server._listener.health.set_serving(serving)
            assert next(call).status == status
        stop_at_once(api.server)
        assert remaining(unknown) == ([], grpc.StatusCode.UNAVAILABLE)


def test_a_watch_that_reads_nothing_delays_neither_the_others_nor_the_stop(serve, served_models) -> None:
    api = serve(served_models, model="dot", grace_s=600)
    change = api.server._listener.health.set_serving
    watches = api.server._listener.health._watches
    with connections(api, 1) as (stub,), RawConnection(api.server.port, receive_window=0) as silent:
        for _ in range(20):
            silent.open_call(health.WATCH)
        until(lambda: silent.pump() or len(watches) == 20, 60)
        call = watch(stub)
        assert next(call).status == SERVING
        for serving in (False, True) * 20:
            change(serving)
            assert next(call).status == (SERVING if serving else NOT_SERVING)
        stop_at_once(api.server, meanwhile=silent.pump)
        assert silent.n_responses == {}


def test_watches_that_have_gone_are_forgotten(serve, served_models) -> None:
    api = serve(served_models, model="dot")
    watches = api.server._listener.health._watches
    with connections(api, 2) as stubs:
        open_watches = [watch(stub) for stub in stubs for _ in range(20)]
        assert {next(call).status for call in open_watches} == {SERVING}
        assert len(watches) == 40
        for call in open_watches[:20]:
            call.cancel()
        until(lambda: len(watches) == 20, 60)
    until(lambda: len(watches) == 0, 60)
    assert not watches._n_by_connection


def test_health_needs_no_token(serve, served_models, tmp_path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[clients.web]\nsha256 = "{"0" * 64}"\nmethods = ["*"]\n')
    api = serve(served_models, model="dot", tokens=str(tokens), rate_limit=0.001, rate_burst=1)
    with connections(api, 1) as (stub,):
        for _ in range(5):
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status == SERVING
            assert next(watch(stub)).status == SERVING


def test_without_the_private_parts_of_grpcio_a_watch_gets_a_thread(serve, served_models, monkeypatch) -> None:
    monkeypatch.setattr(health.HealthWatches, "AVAILABLE", False)
    api = serve(served_models, model="dot", drain_delay_s=0.1)
    with connections(api, 1) as (stub,):
        call = watch(stub)
        assert next(call).status == SERVING
        assert api.server.pools.watches.n_calls == 1
        api.server._listener.health.set_serving(False)
        assert next(call).status == NOT_SERVING


def test_the_installed_grpcio_supports_watches_without_threads() -> None:
    assert health.HealthWatches.AVAILABLE
