"""Test a server with too many calls, with calls whose deadline has passed, and when it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.recommender_pb2 import RecommendRequest, SimilarItemsRequest, StreamRecommendRequest, User
from cofactor_server.errors import ConfigurationError
from cofactor_server.serving.registry import ModelRegistry
from tests.support.waiting import until

SIMILAR = SimilarItemsRequest(item_ids=["i001"])


@pytest.fixture
def models(dot_version, tmp_path, versions):
    versions.copy(dot_version, tmp_path)
    return tmp_path


class Gate:
    """Blocks the SimilarItems calls of a server inside the engine until `opened` is set."""

    def __init__(self, api):
        version = api.server.repository.versions["dot"][0]
        self.entered = 0
        self.opened = threading.Event()
        real = version.engine.similar_items

        def wait_and_rank(*arguments):
            self.entered += 1
            self.opened.wait(20)
            return real(*arguments)

        version.engine.similar_items = wait_and_rank


def outcome(future):
    try:
        future.result()
    except grpc.RpcError as error:
        return error
    return None


def test_exactly_the_calls_over_the_queue_limit_are_refused_at_once(models, serve):
    api = serve(models, threads=2, max_queue_size=5)
    gate = Gate(api)
    futures = [api.recommender.SimilarItems.future(SIMILAR, timeout=20) for _ in range(2)]
    until(lambda: gate.entered == 2)
    futures += [api.recommender.SimilarItems.future(SIMILAR, timeout=20) for _ in range(5 + 9)]
    until(lambda: sum(future.done() for future in futures) == 9)
    refused = [outcome(future) for future in futures if future.done()]
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    for error in refused:
        binary = dict(error.trailing_metadata())["grpc-status-details-bin"]
        details = {d.TypeName(): d for d in status_pb2.Status.FromString(binary).details}
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        details["google.rpc.ErrorInfo"].Unpack(info)
        details["google.rpc.RetryInfo"].Unpack(retry)
        assert info.reason == "QUEUE_FULL"
        assert retry.retry_delay.ToMilliseconds() == 500
    health = health_pb2_grpc.HealthStub(api.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING
    gate.opened.set()
    assert [outcome(future) for future in futures].count(None) == 7
    assert api.recommender.SimilarItems(SIMILAR, timeout=5).results  # and there is room again


def test_a_call_whose_deadline_passes_in_the_queue_never_runs(models, serve):
    api = serve(models, threads=1)
    gate = Gate(api)
    running = api.recommender.SimilarItems.future(SIMILAR, timeout=20)
    until(lambda: gate.entered == 1)
    late = [api.recommender.SimilarItems.future(SIMILAR, timeout=0.2) for _ in range(5)]
    patient = api.recommender.SimilarItems.future(SIMILAR, timeout=20)
    assert {outcome(future).code() for future in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    gate.opened.set()
    assert outcome(running) is None
    assert outcome(patient) is None
    assert gate.entered == 2


def test_cancelled_calls_do_not_count_as_waiting(models, serve):
    api = serve(models, threads=1, max_queue_size=3)
    gate = Gate(api)
    running = api.recommender.SimilarItems.future(SIMILAR, timeout=20)
    until(lambda: gate.entered == 1)
    for _ in range(5):
        waiting = [api.recommender.SimilarItems.future(SIMILAR, timeout=20) for _ in range(3)]
        for future in waiting:
            future.cancel()
    gate.opened.set()
    assert outcome(running) is None
    # The cancelled calls may still be in the queue; a call that succeeds comes after them.
    until(lambda: outcome(api.recommender.SimilarItems.future(SIMILAR, timeout=5)) is None)
    for _ in range(20):
        assert api.recommender.SimilarItems(SIMILAR, timeout=5).results


def test_streams_over_their_limit_are_refused_and_unary_calls_go_on(models, serve):
    api = serve(models, max_streams=2)
    closing = threading.Event()

    def requests():
        yield StreamRecommendRequest(request_id="1", request=RecommendRequest(user=User(user_id="u001")))
        closing.wait(20)

    streams = [api.recommender.StreamRecommend(requests(), timeout=20) for _ in range(2)]
    assert [next(stream).request_id for stream in streams] == ["1", "1"]
    with pytest.raises(grpc.RpcError) as caught:
        next(api.recommender.StreamRecommend(requests(), timeout=20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert api.recommender.SimilarItems(SIMILAR, timeout=5).results
    closing.set()
    assert [list(stream) for stream in streams] == [[], []]
    until(lambda: not _is_refused(api))


def _is_refused(api):
    one = StreamRecommendRequest(request_id="1", request=RecommendRequest(user=User(user_id="u001")))
    try:
        return not list(api.recommender.StreamRecommend(iter([one]), timeout=5))
    except grpc.RpcError:
        return True


def test_health_watchers_take_no_threads_of_calls_and_see_the_shutdown(models, serve):
    api = serve(models, threads=1, drain_delay_s=0.3)
    health = health_pb2_grpc.HealthStub(api.channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(20)]
    assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
    assert api.recommender.SimilarItems(SIMILAR, timeout=5).results
    stopping = threading.Thread(target=api.server.stop)
    stopping.start()
    assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.NOT_SERVING}
    assert api.recommender.SimilarItems(SIMILAR, timeout=5).results  # calls are answered until the drain delay is over
    stopping.join(20)
    assert not stopping.is_alive()


def test_running_calls_finish_when_the_server_stops(models, serve):
    api = serve(models, threads=4, grace_s=10)
    gate = Gate(api)
    futures = [api.recommender.SimilarItems.future(SIMILAR, timeout=20) for _ in range(4)]
    until(lambda: gate.entered == 4)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(api.server.stop)
        time.sleep(0.2)
        gate.opened.set()
        stopped.result(20)
    assert [outcome(future) for future in futures] == [None] * 4


def test_reflection_lists_the_services_and_health_knows_them(api):
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    names = set(ProtoReflectionDescriptorDatabase(api.channel).get_services())
    assert {"cofactor.v1.RecommenderService", "cofactor.v1.CatalogService", "grpc.health.v1.Health"} <= names
    health = health_pb2_grpc.HealthStub(api.channel)
    for service in ("", "cofactor.v1.RecommenderService", "cofactor.v1.CatalogService"):
        status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
        assert status == health_pb2.HealthCheckResponse.SERVING


def test_a_taken_port_is_an_error_and_not_a_shared_port(models, serve, api):
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1 port {api.server.port}"):
        serve(models, port=api.server.port)


def test_a_server_that_cannot_listen_leaves_no_private_copies(models, serve, api, tmp_path_factory, monkeypatch):
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(ConfigurationError):
        serve(models, port=api.server.port)
    assert list(temporary.iterdir()) == []
    serve(models)
    assert list(temporary.iterdir()), "control: a server makes private copies"


def test_a_server_with_nothing_loaded_is_not_serving():
    from cofactor.v1.model_pb2 import ModelRef
    from cofactor_server.errors import NotServing

    with pytest.raises(NotServing):
        ModelRegistry({}, "").resolve(ModelRef())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal_and_then_exits_0(models, number):
    command = [sys.executable, "-m", "cofactor_server", "--models", str(models), "--port", "0", "--provider", "cpu"]
    process = subprocess.Popen([*command, "--drain-delay-s", "0.2"], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "listening on" in line:
                break
        port = line.split("port ")[1].split(",")[0]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            from cofactor.v1.catalog_pb2_grpc import CatalogServiceStub

            assert CatalogServiceStub(channel).GetModel(GetModelRequest(), timeout=10).model.name == "dot"
        os.kill(process.pid, number)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
