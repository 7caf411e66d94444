"""Parse what a request says about a new user: ratings or events, and sign-up answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cofactor.v1.recommender_pb2 import Event, Rating
from cofactor_server.errors import InvalidField, ItemNotFound, NoKnownItems, quoted
from cofactor_server.ranking.user_vectors import History
from cofactor_server.services.parsing.checks import check_length, check_number
from cofactor_server.services.parsing.events import parse_events
from cofactor_server.services.parsing.ids import IdParser
from cofactor_server.serving.loaded_version import LoadedVersion

MOST_PROFILE_ANSWERS = 100


class HistoryMessage(Protocol):
    """A message with the fields of a history: RatingHistory and EmbedNewUserRequest."""

    @property
    def ratings(self) -> Sequence[Rating]:
        """Return the ratings."""

    @property
    def events(self) -> Sequence[Event]:
        """Return the events."""

    @property
    def profile(self) -> Mapping[str, str]:
        """Return the sign-up answers."""


@dataclass(frozen=True, slots=True, eq=False)
class ParsedHistory:
    """The ratings or events, and the sign-up answers of a new user.

    Attributes:
        history: the ratings or weights of known items, and the answers that the model uses.
        missing_item_ids: items of ratings and events that the model does not know.
        ignored_profile_keys: answers that the model does not use.
        n_ratings: number of ratings that are used.
        n_events: number of events that are used.
    """

    history: History
    missing_item_ids: Sequence[str]
    ignored_profile_keys: Sequence[str]
    n_ratings: int
    n_events: int


class HistoryParser:
    """Parse the histories of new users."""

    def __init__(self, ids: IdParser) -> None:
        self._max_items = ids.max_items

    def parse(
        self, version: LoadedVersion, message: HistoryMessage, prefix: str = "", *, skip_unknown: bool = False
    ) -> ParsedHistory:
        """Parse a new user's ratings or events, and sign-up answers.

        `prefix` is the path of the message that holds the fields, for errors. With `skip_unknown` unknown items are
        skipped. Raises InvalidField, ItemNotFound, or NoKnownItems if every item was skipped.
        """
        check_length(message.profile, f"{prefix}profile", MOST_PROFILE_ANSWERS, "answers")
        if version.event_weights is None:
            return self._parse_ratings(version, message, prefix, skip_unknown=skip_unknown)
        return self._parse_events(version, message, prefix, skip_unknown=skip_unknown)

    def _parse_ratings(
        self, version: LoadedVersion, message: HistoryMessage, prefix: str, *, skip_unknown: bool
    ) -> ParsedHistory:
        if message.events:
            raise InvalidField(f"{prefix}events", "this model learnt from ratings; send `ratings`")
        ratings, field = message.ratings, f"{prefix}ratings"
        check_length(ratings, field, self._max_items)
        first_index = _index_ratings(version, ratings, field)
        pairs: list[tuple[int, float]] = []
        missing_item_ids: list[str] = []
        for item_id, index in first_index.items():
            row = version.item_ids.row(item_id)
            if row is not None:
                pairs.append((row, ratings[index].rating))
            elif skip_unknown:
                missing_item_ids.append(item_id)
            else:
                raise ItemNotFound(item_id, f"{field}[{index}].item_id")
        if missing_item_ids and not pairs:
            raise NoKnownItems(field)
        pairs.sort()
        columns, ignored_keys = version.profile_encoder.encode(message.profile, f"{prefix}profile")
        item_rows = np.array([row for row, _ in pairs], dtype=np.int64)
        item_ratings = np.array([rating for _, rating in pairs], dtype=np.float32)
        history = History(item_rows, item_ratings, columns)
        return ParsedHistory(history, missing_item_ids, ignored_keys, len(pairs), 0)

    def _parse_events(
        self, version: LoadedVersion, message: HistoryMessage, prefix: str, *, skip_unknown: bool
    ) -> ParsedHistory:
        assert version.event_weights is not None
        if message.ratings:
            raise InvalidField(f"{prefix}ratings", "this model learnt from events; send `events`")
        field = f"{prefix}events"
        check_length(message.events, field, self._max_items)
        events = parse_events(version.event_weights, version.item_ids, message.events, field, skip_unknown=skip_unknown)
        if events.missing_item_ids and not events.n_used:
            raise NoKnownItems(field, "items of the events")
        columns, ignored_keys = version.profile_encoder.encode(message.profile, f"{prefix}profile")
        items = events.items
        history = History(items.item_rows, items.weights, columns, items.negative_rows)
        return ParsedHistory(history, events.missing_item_ids, ignored_keys, 0, events.n_used)


def _index_ratings(version: LoadedVersion, ratings: Sequence[Rating], field: str) -> dict[str, int]:
    """Return the first index of every rated item.

    Raises InvalidField for an empty id, a rating off the model's scale, or an item with two different ratings.
    """
    low, high = version.manifest.rating_min, version.manifest.rating_max
    first_index: dict[str, int] = {}
    for index, rating in enumerate(ratings):
        if not rating.item_id:
            raise InvalidField(f"{field}[{index}].item_id", "is empty; name an item")
        check_number(rating.rating, f"{field}[{index}].rating", low, high)
        first = first_index.setdefault(rating.item_id, index)
        if ratings[first].rating != rating.rating:
            raise InvalidField(
                f"{field}[{index}].rating",
                f"differs from {field}[{first}] for the same item {quoted(rating.item_id)}; rate an item once",
            )
    return first_index
