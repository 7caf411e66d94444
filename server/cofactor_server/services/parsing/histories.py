"""Parse what a request says about a new user: ratings or events, and sign-up answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cofactor.v1.recommender_pb2 import Event, Rating
from cofactor_server.arrays import FloatArray
from cofactor_server.errors import InvalidField, NoKnownItems
from cofactor_server.ranking.event_weights import EventWeights
from cofactor_server.ranking.user_vectors import History, join_ratings_and_events
from cofactor_server.services.parsing.checks import check_length
from cofactor_server.services.parsing.events import ParsedEvents, parse_events
from cofactor_server.services.parsing.ids import IdParser
from cofactor_server.services.parsing.ratings import ParsedRatings, parse_ratings
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
        rule = version.event_weights
        if rule is None and message.events:
            raise InvalidField(f"{prefix}events", "this model learnt from ratings; send `ratings`")
        if not version.predicts_ratings and rule is not None and message.ratings:
            raise InvalidField(f"{prefix}ratings", "this model learnt from events; send `events`")
        ratings, events = ParsedRatings(), None
        if rule is None or version.predicts_ratings:
            path, scale = f"{prefix}ratings", (version.manifest.rating_min, version.manifest.rating_max)
            check_length(message.ratings, path, self._max_items)
            ratings = parse_ratings(version.item_ids, message.ratings, scale, path, skip_unknown=skip_unknown)
        if rule is not None:
            field = f"{prefix}events"
            check_length(message.events, field, self._max_items)
            events = parse_events(rule, version.item_ids, message.events, field, skip_unknown=skip_unknown)
        missing, n_events = ratings.missing_ids, 0
        if events is not None:
            missing = list(dict.fromkeys([*missing, *events.missing_ids]))
            n_events = events.n_used
        if missing and not (len(ratings.rows) or n_events):
            if ratings.missing_ids:
                raise NoKnownItems(f"{prefix}ratings")
            raise NoKnownItems(f"{prefix}events", "items of the events")
        columns, ignored_keys = version.profile_encoder.encode(message.profile, f"{prefix}profile")
        history = _history(ratings, events, rule, columns, predicts_ratings=version.predicts_ratings)
        n_ratings = int(np.count_nonzero(ratings.rows < version.n_foldable_items))
        return ParsedHistory(history.set_aside(version.n_foldable_items), missing, ignored_keys, n_ratings, n_events)


def _history(
    ratings: ParsedRatings,
    events: ParsedEvents | None,
    rule: EventWeights | None,
    profile: FloatArray,
    *,
    predicts_ratings: bool,
) -> History:
    """Join what was parsed; in a version that learnt from both, ratings of items without events count as events."""
    if events is None or rule is None:
        return History(ratings.rows, ratings.ratings, profile)
    items = events.items
    if not predicts_ratings:
        return History(items.item_rows, items.weights, profile, items.negative_rows)
    return join_ratings_and_events(ratings.rows, ratings.ratings, items, rule.weight_of_rating, profile)
