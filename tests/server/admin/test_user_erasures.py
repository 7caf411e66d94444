"""Erase users while servers run: who is unknown then, where, and what is recorded."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from types import SimpleNamespace

import grpc
import pytest

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1 import model_pb2, recommender_pb2
from cofactor.v1.recommender_pb2 import ExplainRequest, PredictRequest, RecommendRequest, User
from cofactor_server.admin.server import AdminServer
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ConfigurationError
from cofactor_server.repository.erasure_records import digest_of, parse_record
from cofactor_server.security.authentication import Authenticator
from cofactor_server.security.static_tokens import StaticTokens
from cofactor_server.server import create_server
from tests.support.server_process import ServerProcess, free_port
from tests.support.waiting import until

ERASED, OTHERS = "u003", ("u001", "u002", "u004", "u039")
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "erasure.key"
    path.write_text(KEY + "\n")
    return path


@pytest.fixture
def models(dot_version, net_version, versions, tmp_path):
    """Return a repository with the models `dot` and `net`."""
    for version in (dot_version, net_version):
        versions.copy(version, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def operate(serve):
    """Return a function that starts a server with the admin API and without polling."""
    channels = []

    def start(models, authenticator=None, **settings):
        api = serve(models, poll_interval_s=0, **settings)
        api.server.admin = AdminServer(api.server._live, authenticator, 0)
        channel = grpc.insecure_channel(f"127.0.0.1:{api.server.admin.port}")
        channels.append(channel)
        return SimpleNamespace(**vars(api), admin=admin_pb2_grpc.AdminServiceStub(channel))

    yield start
    for channel in channels:
        channel.close()


def erase(api, user_id=ERASED, name="", **options):
    request = admin_pb2.EraseUserRequest(user_id=user_id, name=name)
    return api.admin.EraseUser(request, timeout=60, **options).erasure


def recommend(api, user_id, name="dot", **fields):
    request = RecommendRequest(user=User(user_id=user_id), model=model_pb2.ModelRef(name=name), **fields)
    return api.recommender.Recommend(request, timeout=60)


def answers(api, user_id, name="dot"):
    """Return the bytes of every answer about a user, without the ids that every response gets anew."""
    recommended = recommend(api, user_id, name, page_size=20)
    recommended.recommendation_id = ""
    user, ref = User(user_id=user_id), model_pb2.ModelRef(name=name)
    predicted = api.recommender.Predict(PredictRequest(user=user, model=ref, item_ids=["i001", "i002"]), timeout=60)
    explained = api.recommender.Explain(ExplainRequest(user=user, model=ref, item_id="i007"), timeout=60)
    return [message.SerializeToString(deterministic=True) for message in (recommended, predicted, explained)]


def is_known(api, user_id=ERASED, name="dot"):
    try:
        recommend(api, user_id, name)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return True


def records(models):
    return sorted((models / ".erasures").glob("*.json"))


def test_an_erased_user_is_unknown_to_every_method_and_the_others_get_the_same_bytes(operate, models, key) -> None:
    api = operate(models, erasure_key_file=str(key))
    before = {(user, name): answers(api, user, name) for user in OTHERS for name in ("dot", "net")}
    first_page = recommend(api, ERASED, page_size=5)
    erasure = erase(api)
    assert list(erasure.versions_with_traces) == ["dot/1", "net/1"]
    user = User(user_id=ERASED)
    pairs = PredictRequest(user_ids=[ERASED], item_ids=["i001"])
    page = RecommendRequest(
        user=user, model=model_pb2.ModelRef(name="dot"), page_size=5, page_token=first_page.next_page_token
    )
    for call, request in (
        (api.recommender.Recommend, RecommendRequest(user=user, model=model_pb2.ModelRef(name="dot"), page_size=5)),
        (api.recommender.Recommend, RecommendRequest(user=user, model=model_pb2.ModelRef(name="net"))),
        (api.recommender.Recommend, page),
        (api.recommender.Predict, PredictRequest(user=user, item_ids=["i001"])),
        (api.recommender.Predict, pairs),
        (api.recommender.Explain, ExplainRequest(user=user, item_id="i007")),
    ):
        with pytest.raises(grpc.RpcError) as unknown:
            call(request, timeout=60)
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    batch = recommender_pb2.BatchRecommendRequest(requests=[RecommendRequest(user=user)])
    [entry] = api.recommender.BatchRecommend(batch, timeout=60).entries
    assert entry.error.reason == "USER_NOT_FOUND"
    stream = [recommender_pb2.StreamRecommendRequest(request_id="1", request=RecommendRequest(user=user))]
    [streamed] = api.recommender.StreamRecommend(iter(stream), timeout=60)
    assert streamed.error.reason == "USER_NOT_FOUND"
    popular = recommend(api, ERASED, unknown_user_policy=RecommendRequest.UNKNOWN_USER_POLICY_POPULAR)
    stranger = recommend(api, "nobody", unknown_user_policy=RecommendRequest.UNKNOWN_USER_POLICY_POPULAR)
    assert popular.is_fallback
    assert [entry.item_id for entry in popular.results] == [entry.item_id for entry in stranger.results]
    assert {(user, name): answers(api, user, name) for user in OTHERS for name in ("dot", "net")} == before


def test_other_replicas_follow_at_their_next_poll_and_versions_that_come_later_do_not_know_the_user(
    operate, serve, models, key, versions
) -> None:
    api, replica = operate(models, erasure_key_file=str(key)), serve(models, poll_interval_s=0, erasure_key_file=key)
    assert is_known(replica), "and the response is cached from now on"
    erase(api)
    assert is_known(replica)
    replica.server._live.watcher.poll()
    assert not is_known(replica)
    versions.copy(models / "dot" / "1", models, version="2")
    for server in (api, replica):
        server.server._live.watcher.poll()
        assert recommend(server, "u001").model.version == "2"
        assert not is_known(server)
    assert not is_known(serve(models, poll_interval_s=0, erasure_key_file=key))


def test_every_worker_process_forgets_the_user(models, key, tmp_path) -> None:
    port = free_port()
    flags = ("--workers", "2", "--admin-port", str(port), "--erasure-key-file", str(key), "--poll-interval-s", "3600")
    with ServerProcess(models, tmp_path / "log", *flags, "--drain-delay-s", "0") as server:

        def ask():
            """Return who knows the user, by connections of their own: the system spreads them over the workers."""
            known = set()
            for _ in range(8):
                options = [("grpc.use_local_subchannel_pool", 1)]
                with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
                    stub = SimpleNamespace(Recommend=channel.unary_unary("/cofactor.v1.RecommenderService/Recommend"))
                    try:
                        stub.Recommend(RecommendRequest(user=User(user_id=ERASED)).SerializeToString(), timeout=60)
                        known.add(True)
                    except grpc.RpcError as error:
                        known.add(None if error.code() != grpc.StatusCode.NOT_FOUND else False)
            return known

        assert ask() == {True}
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            admin_pb2_grpc.AdminServiceStub(channel).EraseUser(admin_pb2.EraseUserRequest(user_id=ERASED), timeout=60)
        until(lambda: ask() == {False}, seconds=60, what="all workers forget the user")
    assert ERASED not in (tmp_path / "log").read_text()


def test_the_record_says_who_asked_and_holds_only_a_keyed_hash(operate, models, key, tmp_path, caplog) -> None:
    tokens = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"secret").hexdigest()
    tokens.write_text(
        f'[clients.officer]\nsha256 = "{digest}"\nmethods = ["cofactor.admin.v1.AdminService/EraseUser"]\n'
    )
    api = operate(models, Authenticator([StaticTokens(tokens)]), erasure_key_file=str(key))
    metadata = (("authorization", "Bearer secret"), ("x-request-id", "ticket-81"))
    with caplog.at_level(logging.DEBUG):
        erase(api, metadata=metadata)
        with pytest.raises(grpc.RpcError):
            erase(api, "u004", name="none", metadata=metadata)
        with pytest.raises(grpc.RpcError) as refused:
            api.admin.ListErasures(admin_pb2.ListErasuresRequest(), metadata=metadata, timeout=60)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert caplog.text
    for text in (caplog.text, json.dumps([vars(record) for record in caplog.records], default=str)):
        assert ERASED not in text
        assert "u004" not in text
    [path] = records(models)
    text = path.read_text()
    assert ERASED not in text + path.name
    assert KEY not in text
    record = parse_record(path.stem, text)
    assert (record.requested_by, record.request_id, record.model_name) == ("officer", "ticket-81", "")
    expected = hmac.new(KEY.encode(), f"cofactor-user:{ERASED}".encode(), "sha256").hexdigest()
    assert record.user_hash == expected
    assert record.key_id == hmac.new(KEY.encode(), b"cofactor-key", "sha256").hexdigest()[:16]


def test_erasing_from_one_model_leaves_the_user_in_the_others(operate, models, key) -> None:
    api = operate(models, erasure_key_file=str(key))
    before = answers(api, ERASED, "net")
    assert list(erase(api, name="dot").versions_with_traces) == ["dot/1"]
    assert not is_known(api, name="dot")
    assert answers(api, ERASED, "net") == before
    with pytest.raises(grpc.RpcError) as unknown:
        erase(api, name="none")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_version_that_was_trained_after_an_erasure_serves_a_user_who_came_back(
    operate, models, key, versions
) -> None:
    api = operate(models, erasure_key_file=str(key))
    known = [erase(api).record, erase(api, "u004").record]
    target = versions.copy(models / "dot" / "1", models, version="2")
    manifest = versions.read(target)
    manifest.erasures.record_count, manifest.erasures.records_sha256 = 1, digest_of(known[:1])
    versions.write(target, manifest)
    api.server._live.watcher.poll()
    assert recommend(api, "u001").model.version == "2"
    assert is_known(api, ERASED)
    assert not is_known(api, "u004"), "this erasure is later than the training"
    traces = [list(entry.versions_with_traces) for entry in list_all(api)]
    assert traces == [["net/1"], ["dot/2", "net/1"]]
    erase(api)
    assert not is_known(api, ERASED)


def test_a_manifest_that_names_other_records_does_not_bring_a_user_back(operate, models, key, versions) -> None:
    api = operate(models, erasure_key_file=str(key))
    erase(api)
    target = versions.copy(models / "dot" / "1", models, version="2")
    manifest = versions.read(target)
    manifest.erasures.record_count, manifest.erasures.records_sha256 = 1, "0" * 64
    versions.write(target, manifest)
    api.server._live.watcher.poll()
    assert recommend(api, "u001").model.version == "2"
    assert not is_known(api)


def list_all(api, page_size=1):
    """Return all erasures, page by page."""
    found, token = [], ""
    while True:
        page = api.admin.ListErasures(admin_pb2.ListErasuresRequest(page_size=page_size, page_token=token), timeout=60)
        assert len(page.erasures) <= page_size
        found += page.erasures
        token = page.next_page_token
        if not token:
            return found


def test_erasures_are_listed_page_by_page_oldest_first(operate, models, key) -> None:
    api = operate(models, erasure_key_file=str(key))
    assert list_all(api) == []
    erased = [erase(api, user) for user in (ERASED, "u004", "nobody-knows-me")]
    assert [entry.record.record_id for entry in list_all(api)] == [entry.record.record_id for entry in erased]
    assert [list(entry.versions_with_traces) for entry in list_all(api, 2)] == [["dot/1", "net/1"]] * 2 + [[]]
    for request in (
        admin_pb2.ListErasuresRequest(page_size=-1),
        admin_pb2.ListErasuresRequest(page_size=1001),
        admin_pb2.ListErasuresRequest(page_token="nonsense"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            api.admin.ListErasures(request, timeout=60)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_erasing_a_user_twice_is_no_error(operate, models, key) -> None:
    api = operate(models, erasure_key_file=str(key))
    assert list(erase(api).versions_with_traces) == list(erase(api).versions_with_traces) == ["dot/1", "net/1"]
    assert len(records(models)) == 2


def test_an_erasure_that_cannot_be_recorded_is_refused_and_leaves_the_user(operate, models, key, tmp_path) -> None:
    without_key = operate(models)
    with pytest.raises(grpc.RpcError, match="erasure-key-file") as refused:
        erase(without_key)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert is_known(without_key)
    blocked = operate(models, erasure_key_file=str(key))
    (models / ".erasures").write_text("a file where the folder should be")
    with pytest.raises(grpc.RpcError, match="the user is not erased") as refused:
        erase(blocked)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert ERASED not in refused.value.details()
    assert is_known(blocked)
    with pytest.raises(grpc.RpcError) as refused:
        erase(blocked, "")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_server_does_not_start_without_the_key_or_with_another_or_on_a_damaged_record(
    operate, models, key, tmp_path
) -> None:
    erase(operate(models, erasure_key_file=str(key)))
    other, short = tmp_path / "other.key", tmp_path / "short.key"
    other.write_text("f" * 64)
    short.write_text("f" * 31)

    def start(**settings):
        with create_server(ServerConfig(models=str(models), port=0, provider="cpu", **settings)):
            pytest.fail("the server started")

    with pytest.raises(ConfigurationError, match="--erasure-key-file"):
        start()
    with pytest.raises(ConfigurationError, match="another key"):
        start(erasure_key_file=str(other))
    with pytest.raises(ConfigurationError, match="31 characters"):
        start(erasure_key_file=str(short))
    with pytest.raises(ConfigurationError, match="cannot read"):
        start(erasure_key_file=str(tmp_path / "none.key"))
    [record] = records(models)
    record.write_text(record.read_text()[:40])
    with pytest.raises(ConfigurationError, match="is not a record"):
        start(erasure_key_file=str(key))


def test_a_running_server_without_the_key_reports_that_it_cannot_erase(operate, serve, models, key) -> None:
    replica = serve(models, poll_interval_s=0)
    erase(operate(models, erasure_key_file=str(key)))
    watcher = replica.server._live.watcher
    watcher.poll()
    assert "--erasure-key-file" in watcher.repository_error


def test_a_call_that_was_under_way_leaves_no_cached_response(operate, models, key) -> None:
    api = operate(models, erasure_key_file=str(key))
    before = api.server._live.current.get("dot/1")
    recommend(api, ERASED)
    assert len(before.response_cache) == 1
    erase(api)
    after = api.server._live.current.get("dot/1")
    before.response_cache.put((b"late", 0), b"response")
    assert len(after.response_cache) == 0
    assert after.users is before.users
