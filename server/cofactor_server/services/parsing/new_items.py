"""Parse what a request says about a new item: attributes, and ratings or events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cofactor.v1.model_pb2 import AttributeValue, Item
from cofactor.v1.recommender_pb2 import EmbedNewItemRequest
from cofactor_server.errors import InvalidField
from cofactor_server.ranking.event_weights import EventWeights
from cofactor_server.ranking.new_items.attribute_encoder import Evidence
from cofactor_server.ranking.new_items.fold_in import ItemEvidence
from cofactor_server.ranking.user_vectors import join_ratings_and_events
from cofactor_server.services.parsing.checks import check_length
from cofactor_server.services.parsing.events import ParsedEvents, parse_events
from cofactor_server.services.parsing.ids import USER_ID, IdParser
from cofactor_server.services.parsing.ratings import ParsedRatings, parse_ratings
from cofactor_server.serving.loaded_version import LoadedVersion

# Keys of the attributes that are fields of Item, as the trainer names them.
GENRES, RELEASE_YEAR = "genres", "release_year"
MOST_ATTRIBUTES = 100
LAST_YEAR = 9999


@dataclass(frozen=True, slots=True, eq=False)
class ParsedItem:
    """The attributes, and the ratings or events of a new item.

    Attributes:
        evidence: what the version uses of them.
        missing_user_ids: users of ratings and events that the model does not know.
        ignored_attributes: attributes that the model does not use.
        n_ratings: number of ratings that are used.
        n_events: number of events that are used.
        n_users: number of users that count in the popularity of the item.
    """

    evidence: ItemEvidence
    missing_user_ids: Sequence[str]
    ignored_attributes: Sequence[str]
    n_ratings: int
    n_events: int
    n_users: int


class NewItemParser:
    """Parse requests about new items."""

    def __init__(self, ids: IdParser) -> None:
        self._max_entries = ids.max_items

    def parse(self, version: LoadedVersion, request: EmbedNewItemRequest) -> ParsedItem:
        """Parse the attributes, and the ratings or events.

        Raises NewItemsUnsupported, InvalidField, or UserNotFound unless unknown users are to be skipped.
        """
        version.new_items.check_supported()
        rule = version.event_weights
        if rule is None and request.events:
            raise InvalidField("events", "this model learnt from ratings; send `ratings`")
        if not version.predicts_ratings and rule is not None and request.ratings:
            raise InvalidField("ratings", "this model learnt from events; send `events`")
        check_length(request.ratings, "ratings", self._max_entries)
        check_length(request.events, "events", self._max_entries)
        skip = request.skip_unknown_users
        scale = version.manifest.rating_min, version.manifest.rating_max
        ratings = parse_ratings(
            version.user_ids, request.ratings, scale, "ratings", skip_unknown=skip, id_field=USER_ID
        )
        attributes, unused = _attributes(version, request.item)
        columns, ignored = version.item_feature_encoder.encode(attributes)
        ignored = sorted({*ignored, *unused})
        if rule is None:
            evidence = ItemEvidence((ratings.rows, ratings.ratings), columns)
            n_rated = len(ratings.rows)
            return ParsedItem(evidence, ratings.missing_ids, ignored, n_rated, 0, n_rated)
        events = parse_events(rule, version.user_ids, request.events, "events", skip_unknown=skip, id_field=USER_ID)
        missing = list(dict.fromkeys([*ratings.missing_ids, *events.missing_ids]))
        evidence, n_users = _with_events(version, ratings, events, rule, columns)
        return ParsedItem(evidence, missing, ignored, len(ratings.rows), events.n_used, n_users)


def _with_events(
    version: LoadedVersion, ratings: ParsedRatings, events: ParsedEvents, rule: EventWeights, columns: np.ndarray
) -> tuple[ItemEvidence, int]:
    """Return the evidence of events, and of ratings if the version learnt from both, and the number of users."""
    users = events.items
    if not version.predicts_ratings:
        return ItemEvidence((users.item_rows, users.weights), columns), len(users.item_rows)
    both = join_ratings_and_events(ratings.rows, ratings.ratings, users, rule.weight_of_rating, columns)
    is_wanted = both.weights > 0
    weights = both.item_rows[is_wanted], both.weights[is_wanted]
    return ItemEvidence((ratings.rows, ratings.ratings), columns, weights), len(weights[0])


def _attributes(version: LoadedVersion, item: Item) -> tuple[dict[str, Evidence], list[str]]:
    """Return the attributes of an item that the model uses, and the keys of those that it does not use."""
    check_length(item.attributes, "item.attributes", MOST_ATTRIBUTES, "attributes")
    if not 0 <= item.release_year <= LAST_YEAR:
        raise InvalidField("item.release_year", f"must be 0 to {LAST_YEAR}, not {item.release_year}")
    is_numeric, found = version.item_feature_encoder.is_numeric, {}
    given: dict[str, AttributeValue] = {key: item.attributes[key] for key in item.attributes}
    unused = [key for key in given if is_numeric(key) is None or key in (GENRES, RELEASE_YEAR)]
    for key, value in given.items():
        if key not in unused:
            found[key] = _evidence(value, f'item.attributes["{key}"]', is_numeric=bool(is_numeric(key)))
    if item.genres:
        found[GENRES] = list(item.genres)
    if item.release_year:
        found[RELEASE_YEAR] = float(item.release_year)
    unused += [key for key in (GENRES, RELEASE_YEAR) if key in found and is_numeric(key) is None]
    return found, unused


def _evidence(value: AttributeValue, field: str, *, is_numeric: bool) -> Evidence:
    """Return a number or texts; raises InvalidField for a value of the other kind."""
    kind = value.WhichOneof("kind")
    if is_numeric:
        if kind == "time":
            return float(value.time.seconds + value.time.nanos / 1e9)
        if kind != "number" or not math.isfinite(value.number):
            raise InvalidField(field, "must be a finite number, or a time: the model has learnt it as one")
        return value.number
    if kind == "boolean":
        return ["true" if value.boolean else "false"]
    if kind not in ("text", "texts"):
        raise InvalidField(field, "must be a text, texts, or true or false: the model has learnt it as text")
    return [value.text] if kind == "text" else list(value.texts.values)
