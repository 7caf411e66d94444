"""Describe the events that were read, for people."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset, row_counts
from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.events.rated_rows import rated_rows
from cofactor_trainer.data.events.weights import count_pairs

logger = logging.getLogger(__name__)

_HEAVY_SHARE = 0.01
# One user with more of all rows than this is rather a robot, or a login that many share.
_SUSPICIOUS_SHARE = 0.05
_FEWEST_ROWS, _FEWEST_USERS = 1_000, 40
_LIKELY_NEGATIVE = frozenset(
    ("return", "returned", "refund", "refunded", "cancel", "cancelled", "dislike", "unlike", "skip", "remove", "hide")
)


def describe_events(events: RatingsDataset, left_out: Mapping[str, float]) -> list[str]:
    """Return lines about events that are not weighed yet; ``left_out`` has the number of unused events by type."""
    feedback = events.events
    assert feedback is not None
    n_rows = events.n_ratings
    n_pairs = count_pairs(events)
    lines = [
        f"types: {_types(feedback, left_out)}",
        f"{n_rows:,} rows by {events.n_users:,} users of {events.n_items:,} items{_span(events)}; {n_pairs:,} pairs of "
        f"a user and an item, {n_rows - n_pairs:,} rows ({1 - n_pairs / n_rows:.0%}) repeat one",
        _heaviest(events),
        f"weights: {describe_weights(feedback)}",
    ]
    for kind in feedback.types:
        if kind.name.lower() in _LIKELY_NEGATIVE and not kind.is_negative:
            logger.warning(
                "events of type %r count as wanted: if they mean that the user does not want the item, pass "
                "--negative-events %s",
                kind.name,
                kind.name,
            )
    return [line for line in lines if line]


def with_ratings_described(events: RatingsDataset) -> RatingsDataset:
    """Add a line about the ratings of a table of ratings and events to its notes."""
    rated = rated_rows(events)
    assert rated is not None
    n_users, n_items = len(np.unique(rated.user_rows)), len(np.unique(rated.item_rows))
    note = (
        f"ratings: {rated.n_ratings:,} of {rated.rating_min:g} to {rated.rating_max:g} by {n_users:,} users of "
        f"{n_items:,} items train the predictions; all rows train the order"
    )
    return replace(events, notes=(*events.notes, note))


def describe_weights(feedback: EventFeedback) -> str:
    """Say how the weights of events add up."""
    parts = [
        "log(1 + sum of a user's events of an item)" if feedback.log_weights else "sum of a user's events of an item"
    ]
    parts.append(f"at most {feedback.weight_cap:g}" if feedback.weight_cap else "no limit")
    if feedback.half_life:
        parts.append(f"halved every {feedback.half_life / 86_400:g} days")
    return ", ".join(parts)


def _types(feedback: EventFeedback, left_out: Mapping[str, float]) -> str:
    if [kind.name for kind in feedback.types] == [""]:
        return f"one, {feedback.types[0].n_events:,.0f} events"
    used = [
        f"{kind.name} {kind.n_events:,.0f} ({'negative' if kind.is_negative else f'weight {kind.weight:g}'})"
        for kind in feedback.types
    ]
    return ", ".join([*used, *(f"{name} {count:,.0f} (left out)" for name, count in sorted(left_out.items()))])


def _span(events: RatingsDataset) -> str:
    if events.timestamps is None:
        return ", no times"
    first, last = float(events.timestamps.min()), float(events.timestamps.max())
    return f", {_day(first)} to {_day(last)} ({(last - first) / 86_400:,.0f} days)"


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"


def _heaviest(events: RatingsDataset) -> str:
    """Say which share of the rows the heaviest users have, and warn of a user who is not one person."""
    counts = row_counts(events.user_rows, events.n_users + 1)[: events.n_users]
    heaviest = int(counts.argmax())
    share = counts[heaviest] / events.n_ratings
    if share > _SUSPICIOUS_SHARE and events.n_ratings >= _FEWEST_ROWS and events.n_users >= _FEWEST_USERS:
        logger.warning(
            "user %r has %.0f %% of all rows: remove them if this is a robot, a test or a login that many people share",
            events.user_ids[heaviest],
            share * 100,
        )
    n_heavy = max(1, round(events.n_users * _HEAVY_SHARE))
    heavy_share = np.sort(counts)[-n_heavy:].sum() / events.n_ratings
    return (
        f"rows per user: median {np.median(counts):g}, most {counts[heaviest]:,}; the heaviest {n_heavy:,} users have "
        f"{heavy_share:.0%} of the rows"
    )
