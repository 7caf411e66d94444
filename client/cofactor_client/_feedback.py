"""Events for a server's feedback log, as plain values and as messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cofactor.v1 import feedback_pb2
from cofactor_client._request_messages import timestamp
from cofactor_client._request_types import ModelLike, ModelRef, check_event


@dataclass(frozen=True)
class FeedbackEvent:
    """Something that a user did with an item, to be recorded for the next training.

    Attributes:
        user_id: the user, as in the training data; the model need not know the id.
        item_id: the item, likewise.
        event_type: such as "view" or "purchase".
        time: when it happened, with a time zone; by default the moment at which the object is made. Keep the object for
            a retry: by its time the server knows that it is the same event.
        count: how often it happened, above 0.
        recommendation_id: of the list that the user saw the item in; empty for none.
        event_id: an id of your own that tells events of a day apart; empty to tell them apart by all fields but count.
    """

    user_id: str
    item_id: str
    event_type: str
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    count: float = 1.0
    recommendation_id: str = ""
    event_id: str = ""

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for values that an event cannot have."""
        check_event("item_id", self.item_id, self.count, self.time)
        check_event("user_id", self.user_id, self.count, self.time)


@dataclass(frozen=True)
class RecordedEvents:
    """The outcome of `record_events`.

    Attributes:
        recorded_count: events that were recorded.
        duplicate_count: events that were not, because they had been before or are older than an erasure of their user.
    """

    recorded_count: int
    duplicate_count: int


def record_events(model: ModelLike, events: Iterable[FeedbackEvent]) -> feedback_pb2.RecordEventsRequest:
    """Build a request that records events. Of the model only its name counts."""
    if isinstance(events, FeedbackEvent):
        raise TypeError("events: must be a list of events, not one event")
    return feedback_pb2.RecordEventsRequest(
        model_name=(model.name if isinstance(model, ModelRef) else model) or "",
        events=[
            feedback_pb2.FeedbackEvent(
                event_id=event.event_id,
                user_id=event.user_id,
                item_id=event.item_id,
                event_type=event.event_type,
                time=timestamp(event.time),
                count=event.count,
                recommendation_id=event.recommendation_id,
            )
            for event in events
        ],
    )


def recorded_events(response: feedback_pb2.RecordEventsResponse) -> RecordedEvents:
    """Parse the response of RecordEvents."""
    return RecordedEvents(response.recorded_count, response.duplicate_count)
