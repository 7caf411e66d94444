"""RecordEvents: what is recorded, what is refused, and that a retry does not count twice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cofactor.v1.feedback_pb2 import FeedbackEvent
from tests.support.calls import details_of
from tests.support.feedback import event, request


def record(api, *events, **options):
    return api.feedback.RecordEvents(request(events, **options), timeout=30)


def refusal(api, *events, **options):
    with pytest.raises(grpc.RpcError) as refused:
        record(api, *events, **options)
    return refused.value


def test_events_are_recorded_with_all_that_the_caller_said(serve_log, rows) -> None:
    before = time.time()
    response = record(
        serve_log(),
        event("u003", "i001", "purchase", at=1_700_000_000.25, count=2.5, recommendation_id="r-1"),
        event("a new user", "a new item", "view", at=1_700_000_000),
    )
    assert (response.recorded_count, response.duplicate_count) == (2, 0)
    bought, viewed = sorted(rows("events"), key=lambda row: row["event"])
    assert 0 <= bought.pop("received_us") / 1e6 - before < 30
    assert len(bought.pop("digest")) == 16
    assert bought == {
        "day": 19675,
        "model": "dot",
        "user_id": "u003",
        "item_id": "i001",
        "event": "purchase",
        "count": 2.5,
        "time_us": 1_700_000_000_250_000,
        "recommendation_id": "r-1",
    }
    assert (viewed["user_id"], viewed["item_id"], viewed["count"]) == ("a new user", "a new item", 1.0)


def test_a_retry_is_not_recorded_again_and_a_second_event_is(serve_log, rows) -> None:
    api = serve_log()
    now = time.time()
    first = event(at=now, count=3)
    assert record(api, first, first).recorded_count == 1
    again = record(api, first, event(at=now + 1))
    assert (again.recorded_count, again.duplicate_count) == (1, 1)
    for other in (event(user_id="x", at=now), event(item_id="x", at=now), event(event_type="x", at=now)):
        assert record(api, other).recorded_count == 1
    assert record(api, event(at=now, recommendation_id="r")).recorded_count == 1
    assert len(rows("events")) == 6


def test_an_event_id_alone_tells_events_apart(serve_log, rows) -> None:
    api = serve_log()
    now = time.time()
    assert record(api, event(at=now, event_id="a"), event(at=now, event_id="b")).recorded_count == 2
    assert record(api, event("someone else", at=now, event_id="a")).duplicate_count == 1
    assert len(rows("events")) == 2


def test_a_retry_after_a_restart_is_not_recorded_again(serve_log, rows) -> None:
    api = serve_log()
    first = event()
    assert record(api, first).recorded_count == 1
    api.server.stop()
    assert record(serve_log(), first).duplicate_count == 1
    assert len(rows("events")) == 1


def test_events_of_another_model_are_told_apart(serve_log, versions, dot_version, models, rows) -> None:
    versions.copy(dot_version, models, "other")
    api = serve_log(model="dot")
    first = event()
    assert record(api, first).recorded_count == record(api, first, model_name="other").recorded_count == 1
    assert record(api, first, model_name="dot").duplicate_count == 1
    assert sorted(row["model"] for row in rows("events")) == ["dot", "other"]
    unknown = refusal(api, first, model_name="nope")
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(unknown)["ErrorInfo"].reason == "MODEL_NOT_FOUND"


LONG = "x" * 257
INVALID = {
    "no user": (event(user_id=""), "user_id"),
    "no item": (event(item_id=""), "item_id"),
    "long user": (event(user_id=LONG), "user_id"),
    "long in bytes": (event(item_id="ü" * 129), "item_id"),
    "long id": (event(event_id=LONG), "event_id"),
    "long recommendation": (event(recommendation_id=LONG), "recommendation_id"),
    "no type": (event(event_type=""), "event_type"),
    "blank in the type": (event(event_type="add to cart"), "event_type"),
    "long type": (event(event_type="x" * 65), "event_type"),
    "no time": (FeedbackEvent(user_id="u", item_id="i", event_type="view"), "time"),
    "before 1970": (event(at=-1), "time"),
    "future": (event(at=time.time() + 90_000), "time"),
    "negative count": (event(count=-1), "count"),
    "large count": (event(count=2e9), "count"),
    "no number": (event(count=float("nan")), "count"),
}


def test_an_invalid_event_is_named_and_nothing_of_its_request_is_recorded(serve_log, rows) -> None:
    api = serve_log()
    for case, (wrong, field) in INVALID.items():
        error = refusal(api, event(), wrong)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, case
        [violation] = details_of(error)["BadRequest"].field_violations
        assert violation.field == f"events[1].{field}", case
    assert rows("events") == []


def test_the_longest_ids_and_a_clock_that_is_ahead_are_taken(serve_log) -> None:
    longest = "ü" * 128
    fields = {"event_id": longest, "recommendation_id": longest, "at": time.time() + 80_000}
    assert record(serve_log(), event(longest, longest, "x" * 64, **fields)).recorded_count == 1


def test_a_list_that_is_empty_or_too_long_is_refused(serve_log) -> None:
    api = serve_log(max_items_per_request=3)
    assert record(api, *(event(str(user)) for user in range(3))).recorded_count == 3
    for events in ([], [event(str(user)) for user in range(4)]):
        assert "send between 1 and 3" in refusal(api, *events).details()


def test_only_the_types_of_the_setting_are_taken(serve_log) -> None:
    api = serve_log(feedback_event_types="view, add to cart")
    assert record(api, event(event_type="add to cart"), event(event_type="view")).recorded_count == 2
    assert '"purchase" is not one of add to cart, view' in refusal(api, event(event_type="purchase")).details()


def test_a_server_without_a_log_says_how_to_get_one(serve_log, log_file) -> None:
    error = refusal(serve_log(feedback_log=""), event())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details_of(error)["ErrorInfo"].reason == "FEEDBACK_LOG_OFF"
    assert "--feedback-log" in error.details()
    assert not log_file.exists()


def test_calls_of_many_clients_are_all_recorded(serve_log, rows) -> None:
    api = serve_log()

    def send(client):
        return sum(record(api, event(f"user {client}-{call}")).recorded_count for call in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(8))) == 160
    assert len({row["user_id"] for row in rows("events")}) == 160
    assert api.server.reporter.report().totals.counters["cofactor_feedback_events"] == {
        "recorded": 160.0,
        "duplicate": 0.0,
    }


def test_rows_older_than_the_retention_are_removed(serve_log, rows) -> None:
    api = serve_log()
    now = time.time()
    record(api, event("old", at=now - 8 * 86_400), event("new", at=now - 5 * 86_400), event("newest", at=now))
    api.server.stop()
    api = serve_log(feedback_retention_days=7)
    api.server.stop()  # the first look at the log's age is at the start
    assert sorted(row["user_id"] for row in rows("events")) == ["new", "newest"]
