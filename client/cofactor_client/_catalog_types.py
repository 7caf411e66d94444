"""Plain values that describe models and items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

# A text, a number, a yes or no, a time in UTC, or several texts.
AttributeValue: TypeAlias = str | float | bool | datetime | tuple[str, ...]


@dataclass(frozen=True)
class ServedModel:
    """The model version that computed a response.

    Attributes:
        name: the model's name.
        version: its version.
        execution_provider: the ONNX Runtime provider that ran it, such as "CPUExecutionProvider".
        overlay_sequence: number of the overlay that it was served with; 0 for none.
    """

    name: str
    version: str
    execution_provider: str
    overlay_sequence: int = 0


@dataclass(frozen=True)
class Item:
    """An item of the catalogue.

    Attributes:
        item_id: its id in the training data.
        title: its title; empty if the data has none.
        genres: its genres.
        release_year: None if unknown.
        rating_count: number of ratings in the training data.
        bias: its learnt bias, that is how much users in general like it.
        attributes: further attributes by name, such as {"brand": "Acme", "price": 9.5}; those that are not known are
            absent.
    """

    item_id: str
    title: str
    genres: tuple[str, ...]
    release_year: int | None
    rating_count: int
    bias: float
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ItemPage:
    """One page of items of the catalogue. Iterate over it to get the items.

    Attributes:
        items: in the order that the method documents.
        next_page_token: empty on the last page.
        model: the model that computed the response.
    """

    items: tuple[Item, ...]
    next_page_token: str
    model: ServedModel

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class ItemAttribute:
    """An attribute of the items of a model, which `ItemFilter.expression` can use.

    Attributes:
        name: its name.
        type: "text", "number", "boolean", "time" or "texts" (any number of texts).
        built_in: True for item_id, title, genres, release_year and rating_count, which are fields of `Item`; the others
            are in `Item.attributes`.
        item_count: number of items whose value is known.
        distinct_count: number of different texts; 0 for other types, and for item_id and title.
        lowest: lowest value of a number or a time; None for other types.
        highest: highest value of a number or a time; None for other types.
        examples: frequent texts.
    """

    name: str
    type: str
    built_in: bool
    item_count: int
    distinct_count: int = 0
    lowest: AttributeValue | None = None
    highest: AttributeValue | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProfileQuestion:
    """A question at sign-up whose answer a model uses for new users.

    Attributes:
        key: key of the answer in `profile`.
        type: "choice" or "number".
        answers: the answers to a choice that the model knows; it ignores others.
        mean: mean of the numbers in the training data; None for a choice.
        lowest: lowest usual number; None for a choice, and if the version does not say.
        highest: highest usual number; None for a choice, and if the version does not say.
    """

    key: str
    type: str
    answers: tuple[str, ...] = ()
    mean: float | None = None
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True)
class MapPoint:
    """An item on the map. Items near each other are liked by the same people.

    Attributes:
        item_id: its id.
        title: its title; empty if the data has none.
        x: place from left to right, from -1 to 1.
        y: place from bottom to top, from -1 to 1.
        rating_count: number of ratings in the training data.
        bias: how much users in general like it.
        genres: its genres.
    """

    item_id: str
    title: str
    x: float
    y: float
    rating_count: int
    bias: float
    genres: tuple[str, ...]


@dataclass(frozen=True)
class MapLabel:
    """The name of a region of the map.

    Attributes:
        x: its middle from left to right, from -1 to 1.
        y: its middle from bottom to top, from -1 to 1.
        text: the genre that is most typical of the region.
    """

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class ItemMap:
    """The map of the most rated items.

    Attributes:
        points: the items, most rated first.
        labels: names of regions; empty if the items have no genres.
        model: the model that drew the map.
    """

    points: tuple[MapPoint, ...]
    labels: tuple[MapLabel, ...]
    model: ServedModel


@dataclass(frozen=True)
class EventType:
    """A kind of event that a model learnt from.

    Attributes:
        name: for `Event.event_type`; empty if the training data has no types.
        weight: weight of one event.
        negative: True for a type that speaks against the item, such as "return": the item has no weight, and
            recommendations leave it out.
        event_count: number of these events in the training data.
    """

    name: str
    weight: float
    negative: bool
    event_count: int


@dataclass(frozen=True)
class ModelEvents:
    """The events that a model learnt from, and how they become the weight of an item.

    The weight is the sum of type weight * count * 0.5^(age / half-life) over the user's events of the item. Ages count
    from the newest of the user's events.

    Attributes:
        types: in the order of their names.
        half_life_seconds: age after which an event weighs half as much; 0 if the age does not count.
        weight_cap: largest weight of an item; 0 for no limit.
        log_weights: True if the weight is log(1 + sum); weight_cap applies after that.
        newest_event_time: of the training data, UTC; None if it has no times.
        rating_weight: in a model that learnt from ratings and events, weight of the event that a rating counts as for
            an item without events; 0 in other models.
        recency_boost: the weights of the latest items are multiplied by 1 + recency_boost * recency_decay^place, and
            then scaled to their old sum; 0 if the order of the events does not count.
        recency_decay: factor from one place to the next.
    """

    types: tuple[EventType, ...]
    half_life_seconds: float
    weight_cap: float
    log_weights: bool
    newest_event_time: datetime | None
    rating_weight: float = 0.0
    recency_boost: float = 0.0
    recency_decay: float = 0.0


@dataclass(frozen=True)
class Model:
    """A version of a model on the server.

    Attributes:
        name: the model's name.
        version: its version.
        labels: labels that point at this version.
        state: "loading", "ready", "unloading" or "failed".
        state_message: the reason, if the state is "failed".
        architecture: "dot-product", "neural-network" or "hybrid".
        objective: "rating" or "ranking".
        user_count: number of users in the training data.
        item_count: number of items in the catalogue.
        factor_count: length of `UserEmbedding.factors`.
        rating_min: lowest rating of the scale; 0 for a model that learnt from events.
        rating_max: highest rating of the scale; 0 for a model that learnt from events.
        execution_providers: ONNX Runtime providers that its sessions use, the preferred one first.
        embedding_space: fingerprint of the factor tables; a `UserEmbedding` is valid for one of them.
        profile_keys: sign-up answers that `embed_new_user` understands.
        metrics: metrics on held-out ratings, such as {"rmse": 0.87}.
        train_time: when training ended, UTC; None if unknown.
        load_time: when this server loaded it, UTC; None if it has not.
        supports_new_users: True if `embed_new_user` and rating histories work.
        dataset: name of the dataset it was trained on.
        metrics_protocol: which ratings the metrics were measured on, and which ones the model was trained on; empty if
            the version does not say.
        has_ranking_part: True if the model has a part of its own for the order of recommendations, beside the one that
            predicts ratings.
        events: the events that it learnt from; None for a model that learnt from ratings.
        attributes: the attributes of its items, those that every model has first; empty from servers of 0.1.
        supports_new_items: True if `embed_new_item` works.
        overlay_sequence: number of the overlay that adds items to the version or removes some; 0 for none.
        supports_probabilities: True if `recommend` can return probabilities of interaction.
        probability_meaning: what these probabilities are of; empty if there are none.
        profile_questions: the questions behind `profile_keys`; empty from servers of 0.1.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    state: str
    state_message: str
    architecture: str
    objective: str
    user_count: int
    item_count: int
    factor_count: int
    rating_min: float
    rating_max: float
    execution_providers: tuple[str, ...]
    embedding_space: str
    profile_keys: tuple[str, ...]
    metrics: Mapping[str, float]
    train_time: datetime | None
    load_time: datetime | None
    supports_new_users: bool
    dataset: str
    metrics_protocol: str = ""
    has_ranking_part: bool = False
    events: ModelEvents | None = None
    attributes: tuple[ItemAttribute, ...] = ()
    supports_new_items: bool = False
    overlay_sequence: int = 0
    supports_probabilities: bool = False
    probability_meaning: str = ""
    profile_questions: tuple[ProfileQuestion, ...] = ()


@dataclass(frozen=True)
class ServingLimits:
    """The largest requests that the server accepts.

    Attributes:
        max_page_size: largest k.
        max_items_per_request: longest list of items, users, ratings or events.
        max_requests_per_batch: longest `batch_recommend`.
        max_queue_size: number of calls that may wait for the engine.
        max_response_bytes: largest response; 0 from servers that do not tell.
        max_request_bytes: largest request; 0 from servers that do not tell.
    """

    max_page_size: int
    max_items_per_request: int
    max_requests_per_batch: int
    max_queue_size: int
    max_response_bytes: int = 0
    max_request_bytes: int = 0


@dataclass(frozen=True)
class ModelDescription:
    """A model, and the limits of the server that serves it."""

    model: Model
    limits: ServingLimits


@dataclass(frozen=True)
class ModelPage:
    """One page of the server's models. Iterate over it to get the models.

    Attributes:
        models: by name, newest version first.
        next_page_token: empty on the last page.
    """

    models: tuple[Model, ...]
    next_page_token: str

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)
