"""Make events for RecordEvents."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from cofactor.v1.feedback_pb2 import FeedbackEvent, RecordEventsRequest


def event(user_id: str = "u003", item_id: str = "i001", event_type: str = "view", **fields: Any) -> FeedbackEvent:
    """Return an event of now, or of the time `at` in seconds since 1970."""
    made = FeedbackEvent(user_id=user_id, item_id=item_id, event_type=event_type)
    at = fields.pop("at", None)
    made.time.FromMicroseconds(round((time.time() if at is None else at) * 1e6))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def request(events: Iterable[FeedbackEvent], model_name: str = "") -> RecordEventsRequest:
    """Return a request with these events."""
    return RecordEventsRequest(events=events, model_name=model_name)
