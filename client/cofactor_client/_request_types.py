"""Plain values that callers pass to the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias, TypedDict

from cofactor.v1 import recommender_pb2
from cofactor_client._filter_types import ItemFilter, refuse_string
from cofactor_client._rule_types import RuleSet

Ranking = Literal["popularity-corrected", "predicted-rating"]
UnknownUser = Literal["error", "popular"]
Order = Literal["highest-bias", "lowest-bias", "most-rated", "most-informative"]


@dataclass(frozen=True)
class ModelRef:
    """Reference to a model. An empty one means the server's default model, in its current version.

    Attributes:
        name: the model's name.
        version: an exact version; cannot be combined with `label`.
        label: a label that an operator put on a version, such as "canary".
    """

    name: str = ""
    version: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if both a version and a label are given."""
        if self.version is not None and self.label is not None:
            raise ValueError("version and label: give only one of them")


ModelLike: TypeAlias = str | ModelRef | None
"""The name of a model, a reference to it, or None for the default."""


@dataclass(frozen=True)
class UserEmbedding:
    """A user's vector in the model, as `embed_new_user` returns it. Treat it as opaque.

    Attributes:
        factors: `Model.factor_count` numbers.
        bias: how far this user rates above or below the average.
        embedding_space: fingerprint of the factor tables that the embedding is valid for.
        rated_item_ids: the items it was made from, and those of negative events; recommendations leave these out.
    """

    factors: tuple[float, ...]
    bias: float
    embedding_space: str
    rated_item_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise TypeError for a string in place of a list of ids."""
        refuse_string(self.rated_item_ids, "rated_item_ids", "ids")

    def to_bytes(self) -> bytes:
        """Serialise the embedding, to keep it in a store."""
        message = recommender_pb2.UserEmbedding(
            factors=self.factors,
            bias=self.bias,
            embedding_space=self.embedding_space,
            rated_item_ids=self.rated_item_ids,
        )
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, serialised: bytes) -> UserEmbedding:
        """Read the bytes that `to_bytes` wrote. Raises google.protobuf.message.DecodeError for other bytes."""
        message = recommender_pb2.UserEmbedding.FromString(serialised)
        return cls(tuple(message.factors), message.bias, message.embedding_space, tuple(message.rated_item_ids))


def check_event(name: str, one_id: object, count: float, time: object) -> None:
    """Raise TypeError or ValueError for values that an event cannot have; `name` is that of the id."""
    if not isinstance(one_id, str):
        raise TypeError(f"{name}: must be an id as a string, not {type(one_id).__name__}")
    if not count > 0:
        raise ValueError(f"count: must be above 0, not {count}")
    if time is not None and not isinstance(time, datetime):
        raise TypeError(f"time: must be a datetime, not {type(time).__name__}")
    if time is not None and time.tzinfo is None:
        raise ValueError("time: has no time zone; write datetime(..., tzinfo=timezone.utc)")


@dataclass(frozen=True)
class Event:
    """Something that a user did with an item, for a model that learnt from events (`Model.events`).

    Attributes:
        item_id: the item.
        event_type: a type of `Model.events`; empty for the only type that is not negative.
        count: how often it happened, above 0.
        time: when it happened, with a time zone; None for as recent as the user's newest event. It counts if
            `Model.events.half_life_seconds` is above 0.
    """

    item_id: str
    event_type: str = ""
    count: float = 1.0
    time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for values that an event cannot have."""
        check_event("item_id", self.item_id, self.count, self.time)


@dataclass(frozen=True)
class RatingHistory:
    """Ratings or events, and profile, of a user whom the model has not seen in training.

    Attributes:
        ratings: item id to rating, on the model's scale; for a model that learnt from ratings, or from both.
        profile: sign-up answers, such as {"age": "24"}; `Model.profile_keys` lists those that the model uses.
        events: item ids or `Event` objects, in any order; for a model that learnt from events, or from both.
    """

    ratings: Mapping[str, float] = field(default_factory=dict)
    profile: Mapping[str, str] = field(default_factory=dict)
    events: Iterable[str | Event] = ()

    def __post_init__(self) -> None:
        """Convert the events to a tuple of `Event` objects. Raises TypeError for anything else than ids and events."""
        object.__setattr__(self, "events", checked_events(self.events))


def checked_events(events: Iterable[str | Event]) -> tuple[Event, ...]:
    """Return events as a tuple, with an event in place of an item id. Raises TypeError for anything else."""
    refuse_string(events, "events", "item ids or events")
    if isinstance(events, (Event, Mapping)):
        advice = "write [event]" if isinstance(events, Event) else "write [Event(item_id, count=count), ...]"
        raise TypeError(f"events: must be a list of item ids or events, not {type(events).__name__}; {advice}")
    checked: list[Event] = []
    for index, event in enumerate(events):
        if not isinstance(event, (str, Event)):
            raise TypeError(f"events[{index}]: must be an item id as a string or an Event, not {type(event).__name__}")
        checked.append(Event(event) if isinstance(event, str) else event)
    return tuple(checked)


UserLike: TypeAlias = str | UserEmbedding | RatingHistory | Mapping[str, float]
"""The id of a user of the training data, an embedding, a history, or a mapping of item ids to ratings."""

UserOrRequest: TypeAlias = UserLike | recommender_pb2.RecommendRequest
"""An entry of a batch or stream: a user, or a request with options of its own."""


class RecommendOptions(TypedDict, total=False):
    """Keyword arguments of every method that recommends.

    Attributes:
        filter: conditions on the items that may be returned.
        include_rated: True to return items that the user has rated or has events of as well; default False.
        diversity: 0 (the default) ranks by score alone; towards 1 the results differ more from each other.
        popularity_penalty: 0 (the default) to 10; 1 takes off what popularity adds to the score of the average user. In
            models without a ranking part, this times log(rating count + 1) is subtracted from each score.
        unknown_user: "error" (the default), or "popular" to recommend for the average user and set `is_fallback`.
        ranking: "popularity-corrected" or "predicted-rating"; by default the best order that the model has, which is
            "popularity-corrected" for a rating model without a ranking part.
        min_predicted_rating: leave out items whose predicted rating is lower.
        return_items: False to leave out titles and attributes; default True.
        rules: rules about the items of the list and their places; also as a message, such as one parsed from ProtoJSON.
        rule_set: name of one of the model's rule sets, in place of `rules`.
        explain_rules: True to say for each item which rules had a say in its place (`ScoredItem.applied_rules`).
        exploration_share: share of the places of every page, from 0 (the default) to 1, that goes to items which an
            overlay has added to the model, drawn at random; these results have `is_exploration`.
        return_probabilities: True to say how probable it is that the user has an event of each item
            (`ScoredItem.probability`); for models whose `supports_probabilities` is True.
    """

    filter: ItemFilter
    include_rated: bool
    diversity: float
    popularity_penalty: float
    unknown_user: UnknownUser
    ranking: Ranking
    min_predicted_rating: float
    return_items: bool
    rules: RuleSet | recommender_pb2.RuleSet
    rule_set: str
    explain_rules: bool
    exploration_share: float
    return_probabilities: bool
