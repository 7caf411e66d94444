"""Rows of a feedback log: events, which are told apart by a digest, and lists that were served."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

from cofactor.v1.feedback_pb2 import FeedbackEvent
from cofactor.v1.recommender_pb2 import RecommendRequest, RecommendResponse

DAY_US = 86_400 * 1_000_000
_DIGEST_BYTES = 16

INSERT_EVENT = (
    "INSERT INTO events (day, digest, model, user_id, item_id, event, count, time_us, received_us, recommendation_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, digest) DO NOTHING"
)
INSERT_LIST = (
    "INSERT INTO served_lists (day, recommendation_id, served_us, model, version, user_id, policy, is_routed, "
    "is_fallback, first_rank, item_ids, propensities) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class EventRow(NamedTuple):
    """A row of the table `events`, in the order of INSERT_EVENT. Times are microseconds since 1970."""

    day: int
    digest: bytes
    model: str
    user_id: str
    item_id: str
    event: str
    number: float
    time_us: int
    received_us: int
    recommendation_id: str


def event_row(model: str, event: FeedbackEvent, time_us: int, received_us: int) -> EventRow:
    """Return the row of an event that is checked. Equal events have equal keys (day, digest)."""
    user_id, item_id, kind, recommendation_id = event.user_id, event.item_id, event.event_type, event.recommendation_id
    if event.event_id:
        parts: tuple[str, ...] = (model, event.event_id)
    else:
        parts = (model, user_id, item_id, kind, str(time_us), recommendation_id)
    # With their lengths, so that no two events join to the same text.
    text = "".join([f"{len(part)}:{part}" for part in parts])
    digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
    return EventRow(
        time_us // DAY_US,
        digest,
        model,
        user_id,
        item_id,
        kind,
        event.count or 1.0,
        time_us,
        received_us,
        recommendation_id,
    )


@dataclass(slots=True, eq=False)
class ServedList:
    """A list that was sent to a caller.

    Attributes:
        recommendation_id: its id.
        served_us: when it was sent.
        version_key: "<model>/<version>" of the version that made it.
        request: its request.
        response: the encoded response, at least its results.
        offset: number of results on the pages before.
        is_routed: True if the server chose between the current version and a canary.
    """

    recommendation_id: str
    served_us: int
    version_key: str
    request: RecommendRequest
    response: bytes
    offset: int
    is_routed: bool

    def row(self) -> tuple[object, ...]:
        """Return the row of the table `served_lists`, in the order of INSERT_LIST."""
        response = RecommendResponse.FromString(self.response)
        model, _, version = self.version_key.partition("/")
        item_ids = [result.item_id for result in response.results]
        propensities = None
        if self.request.exploration_share:
            drawn = [result.propensity if result.is_exploration else None for result in response.results]
            propensities = json.dumps(drawn, separators=(",", ":"))
        return (
            self.served_us // DAY_US,
            self.recommendation_id,
            self.served_us,
            model,
            version,
            self.request.user.user_id,
            policy_of(self.request),
            int(self.is_routed),
            int(response.is_fallback),
            self.offset + 1,
            json.dumps(item_ids, ensure_ascii=False, separators=(",", ":")),
            propensities,
        )


def policy_of(request: RecommendRequest) -> str:
    """Return what had a say in a list beside the scores: "rules:<name>", "rules", "exploration", or "scores"."""
    choice = request.WhichOneof("rule_choice")
    if choice == "rule_set":
        return f"rules:{request.rule_set}"
    if choice == "rules":
        return "rules"
    return "exploration" if request.exploration_share else "scores"
