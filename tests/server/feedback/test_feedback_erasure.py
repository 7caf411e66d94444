"""EraseUser removes the user's rows from the feedback log, and late events of before do not come back."""

from __future__ import annotations

import time
from types import SimpleNamespace

import grpc
import pytest

from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1 import model_pb2
from cofactor.v1 import recommender_pb2 as pb
from tests.support.feedback import event, request
from tests.support.server_process import free_port
from tests.support.waiting import until


@pytest.fixture
def erasing(serve_log, tmp_path):
    """Return a function that starts a server with a feedback log and the admin API."""
    key = tmp_path / "erasure.key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    channels = []

    def start(**settings):
        port = free_port()
        api = serve_log(admin_port=port, erasure_key_file=str(key), **settings)
        channels.append(grpc.insecure_channel(f"127.0.0.1:{port}"))
        return SimpleNamespace(**vars(api), admin=admin_pb2_grpc.AdminServiceStub(channels[-1]))

    yield start
    for channel in channels:
        channel.close()


def record(api, *events, model=""):
    return api.feedback.RecordEvents(request(events, model), timeout=30)


def recommend(api, user_id, model=""):
    wanted = pb.RecommendRequest(user=pb.User(user_id=user_id), model=model_pb2.ModelRef(name=model))
    return api.recommender.Recommend(wanted, timeout=60)


def erase(api, user_id="u003", model=""):
    api.admin.EraseUser(admin_pb2.EraseUserRequest(user_id=user_id, name=model), timeout=60)


def traces(log_file, text):
    """Return the files of the log that have this text anywhere."""
    return [path.name for path in log_file.parent.glob(f"{log_file.name}*") if text.encode() in path.read_bytes()]


def test_the_rows_of_an_erased_user_are_gone_when_the_call_returns(erasing, rows, log_file) -> None:
    api = erasing()
    secret, other = "somebody-who-is-erased", "somebody-who-stays"
    record(api, *(event(user, item) for user in (secret, other) for item in ("i001", "i002")))
    for user in (secret, other):
        request = pb.RecommendRequest(
            user=pb.User(user_id=user), unknown_user_policy=pb.RecommendRequest.UNKNOWN_USER_POLICY_POPULAR
        )
        api.recommender.Recommend(request, timeout=60)
    until(lambda: len(rows("served_lists")) == 2, 10, "the lists are written")
    assert traces(log_file, secret), "control: the files have the id before"
    erase(api, secret)
    assert [row["user_id"] for row in rows("events")] == [other] * 2
    assert [row["user_id"] for row in rows("served_lists")] == [other]
    assert traces(log_file, secret) == []
    assert traces(log_file, other)


def test_late_events_from_before_the_erasure_are_not_recorded_and_new_ones_are(erasing, rows) -> None:
    api = erasing()
    before = time.time()
    erase(api)
    late = record(api, event(at=before - 100), event("u001", at=before - 100))
    assert (late.recorded_count, late.duplicate_count) == (1, 1)
    assert record(api, event(at=time.time() + 1)).recorded_count == 1
    assert sorted(row["user_id"] for row in rows("events")) == ["u001", "u003"]


def test_an_erasure_from_one_model_leaves_the_rows_of_another(erasing, versions, dot_version, models, rows) -> None:
    versions.copy(dot_version, models, "other")
    api = erasing(model="dot")
    for model in ("dot", "other"):
        record(api, event(), model=model)
        recommend(api, "u003", model)
    until(lambda: len(rows("served_lists")) == 2, 10, "the lists are written")
    erase(api, model="other")
    assert [row["model"] for row in rows("events")] == [row["model"] for row in rows("served_lists")] == ["dot"]


def test_a_log_follows_the_erasures_of_other_servers(erasing, rows, log_file, tmp_path) -> None:
    first = erasing()
    second = erasing(feedback_log=str(tmp_path / "second.sqlite"), poll_interval_s=0.1)
    for api in (first, second):
        record(api, event(), event("u001"))
    erase(second)
    assert len(rows("events")) == 2, "the first server does not poll"
    first.server.reload_repository()
    until(lambda: [row["user_id"] for row in rows("events")] == ["u001"], 10, "the first log follows")


def test_a_log_that_was_away_follows_at_its_start(erasing, rows) -> None:
    api = erasing()
    record(api, event(), event("u001"))
    api.server.stop()
    erase(erasing(feedback_log=""))
    assert len(rows("events")) == 2
    erasing().server.stop()
    assert [row["user_id"] for row in rows("events")] == ["u001"]


def test_a_process_that_shares_the_file_removes_what_it_wrote_before_it_knew(erasing, rows) -> None:
    first, second = erasing(), erasing()
    before = time.time()
    erase(first)
    assert record(second, event(at=before - 1), event("u001")).recorded_count == 2, "it does not know yet"
    second.server.reload_repository()
    until(lambda: [row["user_id"] for row in rows("events")] == ["u001"], 10, "the late row is removed")
