"""Check the events of RecordEvents, and make rows of the feedback log from them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from cofactor.v1.feedback_pb2 import FeedbackEvent
from cofactor_server.config import ServerConfig
from cofactor_server.errors import InvalidField, quoted
from cofactor_server.feedback.rows import DAY_US, EventRow, event_row
from cofactor_server.services.parsing.checks import check_number
from cofactor_server.services.parsing.events import LARGEST_COUNT

LONGEST_ID_BYTES = 256
# How far the clock of a caller may be ahead.
LARGEST_SKEW_US = DAY_US
_EVENT_TYPE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class FeedbackParser:
    """Check events within the limits of a server, and with its types of events."""

    def __init__(self, config: ServerConfig) -> None:
        self._most_events = config.max_items_per_request
        self._event_types = config.accepted_event_types

    def parse(self, model: str, events: Sequence[FeedbackEvent]) -> list[EventRow]:
        """Return the rows of all events, received now. Raises InvalidField if one of them is not valid."""
        if not 1 <= len(events) <= self._most_events:
            raise InvalidField("events", f"has {len(events)} entries; send between 1 and {self._most_events}")
        now_us = time.time_ns() // 1000
        latest_us = now_us + LARGEST_SKEW_US
        rows = []
        for index, event in enumerate(events):
            problem = self._problem(event)
            if problem is not None:
                field, message = problem
                raise InvalidField(f"events[{index}].{field}", message)
            time_us = event.time.seconds * 1_000_000 + event.time.nanos // 1000
            if not 0 <= time_us <= latest_us:
                raise InvalidField(
                    f"events[{index}].time", "must be between 1970 and a day after now; send when the event happened"
                )
            if event.count:
                check_number(event.count, f"events[{index}].count", 0, LARGEST_COUNT)
            rows.append(event_row(model, event, time_us, now_us))
        return rows

    def _problem(self, event: FeedbackEvent) -> tuple[str, str] | None:
        """Return the field at fault and what is wrong with it; None if ids and type are valid."""
        if not event.user_id or not event.item_id:
            name = "item_id" if event.user_id else "user_id"
            return name, f"is empty; name the {name.removesuffix('_id')}"
        # The longest id, first by characters: most ids are far below the limit.
        for name in ("user_id", "item_id", "event_id", "recommendation_id"):
            value = getattr(event, name)
            if len(value) > LONGEST_ID_BYTES // 4 and len(value.encode()) > LONGEST_ID_BYTES:
                return name, f"has {len(value.encode())} bytes; send at most {LONGEST_ID_BYTES}"
        if not event.HasField("time"):
            return "time", "is unset; send when the event happened, which tells a second event from a retry"
        return self._type_problem(event.event_type)

    def _type_problem(self, event_type: str) -> tuple[str, str] | None:
        if self._event_types is not None:
            if event_type in self._event_types:
                return None
            return "event_type", f"{quoted(event_type)} is not one of {', '.join(sorted(self._event_types))}"
        if _EVENT_TYPE.fullmatch(event_type):
            return None
        return "event_type", f"{quoted(event_type)} is not a type: 1 to 64 letters, digits, '.', '_', '-'"
