"""Describe items that a model was not trained on, and their embeddings, as plain values and as messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from cofactor.v1 import model_pb2, recommender_pb2
from cofactor_client._catalog_types import ServedModel
from cofactor_client._filter_types import refuse_string
from cofactor_client._request_messages import model_ref, timestamp
from cofactor_client._request_types import ModelLike, check_event

AttributeLike: TypeAlias = "str | float | bool | datetime | Iterable[str]"
"""The value of an attribute: a text, a number, a yes or no, a time with a time zone, or several texts."""


@dataclass(frozen=True)
class ItemEvent:
    """Something that a user did with a new item, for a model that learnt from events (`Model.events`).

    Attributes:
        user_id: a user of the training data.
        event_type: a type of `Model.events`; empty for the only type that is not negative.
        count: how often it happened, above 0.
        time: when it happened, with a time zone; None for as recent as the item's newest event.
    """

    user_id: str
    event_type: str = ""
    count: float = 1.0
    time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for values that an event cannot have."""
        check_event("user_id", self.user_id, self.count, self.time)


@dataclass(frozen=True)
class ItemEmbedding:
    """An item's row in the model, as `embed_new_item` returns it.

    Attributes:
        factors: the row of the table item_factors.
        bias: the element of the table item_bias.
        embedding_space: fingerprint of the factor tables that the row is valid for.
        rating_count: number of ratings, or of users with events, that it was made from.
    """

    factors: tuple[float, ...]
    bias: float
    embedding_space: str
    rating_count: int

    def to_bytes(self) -> bytes:
        """Serialise the embedding, to keep it in a store."""
        message = recommender_pb2.ItemEmbedding(
            factors=self.factors,
            bias=self.bias,
            embedding_space=self.embedding_space,
            rating_count=self.rating_count,
        )
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, serialised: bytes) -> ItemEmbedding:
        """Read the bytes that `to_bytes` wrote. Raises google.protobuf.message.DecodeError for other bytes."""
        message = recommender_pb2.ItemEmbedding.FromString(serialised)
        return cls(tuple(message.factors), message.bias, message.embedding_space, message.rating_count)


@dataclass(frozen=True)
class NewItem:
    """A new item that the server embedded.

    Attributes:
        embedding: its row in the model.
        fit_rmse: root mean square error of the embedding on the given ratings; 0 if there are none.
        used_rating_count: number of ratings it was made from.
        missing_user_ids: users of ratings and events that the model does not know, with skip_unknown_users.
        ignored_attributes: what was given about the item and the model does not use.
        model: the model that computed the response.
        used_event_count: number of events that were used, negative ones included.
    """

    embedding: ItemEmbedding
    fit_rmse: float
    used_rating_count: int
    missing_user_ids: tuple[str, ...]
    ignored_attributes: tuple[str, ...]
    model: ServedModel
    used_event_count: int = 0


def embed_new_item(
    model: ModelLike,
    ratings: Mapping[str, float] | None,
    item: model_pb2.Item,
    events: Iterable[str | ItemEvent],
    *,
    skip_unknown_users: bool,
) -> recommender_pb2.EmbedNewItemRequest:
    """Build a request that embeds a new item."""
    if ratings is not None and not isinstance(ratings, Mapping):
        raise TypeError(f"ratings: must be a mapping of user ids to ratings, not {type(ratings).__name__}")
    refuse_string(events, "events", "user ids or events")
    named = (ItemEvent(event) if isinstance(event, str) else event for event in events)
    return recommender_pb2.EmbedNewItemRequest(
        model=model_ref(model),
        item=item,
        ratings=[recommender_pb2.ItemRating(user_id=user, rating=rating) for user, rating in (ratings or {}).items()],
        events=[
            recommender_pb2.ItemEvent(
                user_id=event.user_id, event_type=event.event_type, count=event.count, time=timestamp(event.time)
            )
            for event in named
        ],
        skip_unknown_users=skip_unknown_users,
    )


def described_item(
    genres: Iterable[str], release_year: int, attributes: Mapping[str, AttributeLike] | None
) -> model_pb2.Item:
    """Build the message of what is known about a new item."""
    refuse_string(genres, "genres", "genres")
    item = model_pb2.Item(genres=genres, release_year=release_year)
    for key, value in (attributes or {}).items():
        item.attributes[key].CopyFrom(_attribute(key, value))
    return item


def _attribute(key: str, value: AttributeLike) -> model_pb2.AttributeValue:
    if isinstance(value, bool):
        return model_pb2.AttributeValue(boolean=value)
    if isinstance(value, str):
        return model_pb2.AttributeValue(text=value)
    if isinstance(value, (int, float)):
        return model_pb2.AttributeValue(number=value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"attributes[{key!r}]: has no time zone; write datetime(..., tzinfo=timezone.utc)")
        return model_pb2.AttributeValue(time=timestamp(value))
    return model_pb2.AttributeValue(texts=model_pb2.TextList(values=value))


def new_item(response: recommender_pb2.EmbedNewItemResponse) -> NewItem:
    """Parse the response of EmbedNewItem."""
    served = response.model
    return NewItem(
        embedding=ItemEmbedding.from_bytes(response.embedding.SerializeToString()),
        fit_rmse=response.fit_rmse,
        used_rating_count=response.used_rating_count,
        missing_user_ids=tuple(response.missing_user_ids),
        ignored_attributes=tuple(response.ignored_attributes),
        used_event_count=response.used_event_count,
        model=ServedModel(served.name, served.version, served.execution_provider),
    )
