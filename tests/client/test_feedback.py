"""Both clients record events in a server's feedback log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from cofactor_client import Client, FeedbackEvent, errors
from tests.client.conftest import BlockingAsyncClient

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture(params=[Client, BlockingAsyncClient], ids=["sync", "asyncio"])
def connect(request, dot_version, tmp_path):
    """Return a function that starts a server with a feedback log, or without one, and returns a client."""
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    closing_all = []

    def start(log="log.sqlite"):
        path = str(tmp_path / log) if log else ""
        models = dot_version.parents[1]
        config = ServerConfig(models=models, model="dot", port=0, provider="cpu", drain_delay_s=0, feedback_log=path)
        server = create_server(config)
        client = request.param(f"127.0.0.1:{server.port}")
        closing_all.extend([server.stop, client.close])
        return client

    yield start
    for close in reversed(closing_all):
        close()


def test_events_are_recorded_once_with_all_their_fields(connect, tmp_path):
    client = connect()
    seen = client.recommend("u003", 3)
    click = FeedbackEvent("u003", seen.results[0].item_id, "click", NOON, 2.0, seen.recommendation_id)
    now = FeedbackEvent("u004", "i001", "view")
    recorded = client.record_events([click, now])
    assert (recorded.recorded_count, recorded.duplicate_count) == (2, 0)
    again = client.record_events(iter([click, now, FeedbackEvent("u004", "i001", "view")]), model="dot")
    assert (again.recorded_count, again.duplicate_count) == (1, 2)
    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as log:
        rows = log.execute("SELECT user_id, item_id, event, count, time_us, recommendation_id FROM events").fetchall()
    assert ("u003", seen.results[0].item_id, "click", 2.0, NOON.timestamp() * 1e6, seen.recommendation_id) in rows
    assert len(rows) == 3


def test_a_server_without_a_log_and_an_unknown_model_raise(connect):
    event = FeedbackEvent("u003", "i001", "view")
    with pytest.raises(errors.FailedPreconditionError, match="--feedback-log") as refused:
        connect(log="").record_events([event])
    assert refused.value.reason == "FEEDBACK_LOG_OFF"
    with pytest.raises(errors.NotFoundError):
        connect().record_events([event], model="nope")


def test_values_that_an_event_cannot_have_raise_before_the_call():
    for wrong in ({"time": datetime(2026, 1, 1)}, {"count": 0}):
        with pytest.raises(ValueError, match=r"time zone|above 0"):
            FeedbackEvent("u", "i", "view", **wrong)
    for user_id, item_id in ((3, "i"), ("u", None)):
        with pytest.raises(TypeError, match="must be an id as a string"):
            FeedbackEvent(user_id, item_id, "view")
