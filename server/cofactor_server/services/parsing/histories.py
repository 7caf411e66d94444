"""Parse what a request says about a new user: ratings or events, and sign-up answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cofactor.v1.recommender_pb2 import Event, Rating
from cofactor_server.arrays import FloatArray, IndexArray, no_rows
from cofactor_server.errors import InvalidField, ItemNotFound, NoKnownItems, quoted
from cofactor_server.ranking.event_weights import EventWeights
from cofactor_server.ranking.user_vectors import History, join_ratings_and_events
from cofactor_server.services.parsing.checks import check_length, check_number
from cofactor_server.services.parsing.events import ParsedEvents, parse_events
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


@dataclass(frozen=True, slots=True, eq=False)
class _Ratings:
    """The ratings of a new user: item_rows (n,) ascending, ratings (n,), and the items that the model does not know."""

    item_rows: IndexArray = field(default_factory=no_rows)
    ratings: FloatArray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    missing_item_ids: Sequence[str] = ()


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
        rule = version.event_weights
        if rule is None and message.events:
            raise InvalidField(f"{prefix}events", "this model learnt from ratings; send `ratings`")
        if not version.predicts_ratings and rule is not None and message.ratings:
            raise InvalidField(f"{prefix}ratings", "this model learnt from events; send `events`")
        ratings, events = _Ratings(), None
        if rule is None or version.predicts_ratings:
            ratings = self._parse_ratings(version, message, prefix, skip_unknown=skip_unknown)
        if rule is not None:
            field = f"{prefix}events"
            check_length(message.events, field, self._max_items)
            events = parse_events(rule, version.item_ids, message.events, field, skip_unknown=skip_unknown)
        missing, n_events = ratings.missing_item_ids, 0
        if events is not None:
            missing = list(dict.fromkeys([*missing, *events.missing_item_ids]))
            n_events = events.n_used
        if missing and not (len(ratings.item_rows) or n_events):
            if ratings.missing_item_ids:
                raise NoKnownItems(f"{prefix}ratings")
            raise NoKnownItems(f"{prefix}events", "items of the events")
        columns, ignored_keys = version.profile_encoder.encode(message.profile, f"{prefix}profile")
        history = _history(ratings, events, rule, columns, predicts_ratings=version.predicts_ratings)
        n_ratings = int(np.count_nonzero(ratings.item_rows < version.n_foldable_items))
        return ParsedHistory(history.set_aside(version.n_foldable_items), missing, ignored_keys, n_ratings, n_events)

    def _parse_ratings(
        self, version: LoadedVersion, message: HistoryMessage, prefix: str, *, skip_unknown: bool
    ) -> _Ratings:
        ratings, path = message.ratings, f"{prefix}ratings"
        check_length(ratings, path, self._max_items)
        first_index = _index_ratings(version, ratings, path)
        pairs: list[tuple[int, float]] = []
        missing_item_ids: list[str] = []
        for item_id, index in first_index.items():
            row = version.item_ids.evidence_row(item_id)
            if row is not None:
                pairs.append((row, ratings[index].rating))
            elif skip_unknown:
                missing_item_ids.append(item_id)
            else:
                raise ItemNotFound(item_id, f"{path}[{index}].item_id")
        pairs.sort()
        item_rows = np.array([row for row, _ in pairs], dtype=np.int64)
        item_ratings = np.array([rating for _, rating in pairs], dtype=np.float32)
        return _Ratings(item_rows, item_ratings, missing_item_ids)


def _history(
    ratings: _Ratings,
    events: ParsedEvents | None,
    rule: EventWeights | None,
    profile: FloatArray,
    *,
    predicts_ratings: bool,
) -> History:
    """Join what was parsed; in a version that learnt from both, ratings of items without events count as events."""
    if events is None or rule is None:
        return History(ratings.item_rows, ratings.ratings, profile)
    items = events.items
    if not predicts_ratings:
        return History(items.item_rows, items.weights, profile, items.negative_rows)
    return join_ratings_and_events(ratings.item_rows, ratings.ratings, items, rule.weight_of_rating, profile)


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
