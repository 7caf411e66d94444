"""What goes into a call and what comes out of it, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias, TypedDict

from cofactor.v1 import recommender_pb2

Ranking = Literal["popularity-corrected", "predicted-rating"]
UnknownUser = Literal["error", "popular"]
Order = Literal["highest-bias", "lowest-bias", "most-rated"]


@dataclass(frozen=True)
class ModelRef:
    """Which model answers; empty: the server's default, its current version.

    Attributes:
        name: the model's name.
        version: an exact version; not together with `label`.
        label: a label that an operator put on a version, such as "canary".
    """

    name: str = ""
    version: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        """Refuses two choices of version."""
        if self.version is not None and self.label is not None:
            raise ValueError("version and label: give one of them")


@dataclass(frozen=True)
class UserEmbedding:
    """A user as the model sees one: opaque, made by `embed_new_user`, valid for one embedding space.

    Attributes:
        factors: `Model.factor_count` numbers.
        bias: how far this user rates above or below the average.
        embedding_space: fingerprint of the tables that it is valid for.
        rated_item_ids: what it was made from; recommendations leave these out.
    """

    factors: tuple[float, ...]
    bias: float
    embedding_space: str
    rated_item_ids: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Serialised, to keep it in a store."""
        message = recommender_pb2.UserEmbedding(
            factors=self.factors,
            bias=self.bias,
            embedding_space=self.embedding_space,
            rated_item_ids=self.rated_item_ids,
        )
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, serialised: bytes) -> UserEmbedding:
        """What `to_bytes` made; google.protobuf.message.DecodeError for anything else."""
        message = recommender_pb2.UserEmbedding.FromString(serialised)
        return cls(tuple(message.factors), message.bias, message.embedding_space, tuple(message.rated_item_ids))


@dataclass(frozen=True)
class RatingHistory:
    """What is known of a user whom the model has not seen.

    Attributes:
        ratings: item id to rating, on the model's scale.
        profile: sign-up answers, such as {"age": "24"}; `Model.profile_keys` says which the model uses.
    """

    ratings: Mapping[str, float] = field(default_factory=dict)
    profile: Mapping[str, str] = field(default_factory=dict)


UserLike: TypeAlias = str | UserEmbedding | RatingHistory | Mapping[str, float]
"""Who is asking: the id of a user of the training data, an embedding, a history, or just item ids with ratings."""


@dataclass(frozen=True)
class ItemFilter:
    """Restricts the items that may be returned; conditions are combined with AND.

    Attributes:
        candidate_item_ids: only these; empty: the whole catalogue.
        excluded_item_ids: not these.
        any_genres: items with at least one of these genres.
        excluded_genres: items with none of these genres.
        min_release_year: released in this year or later.
        max_release_year: released in this year or earlier.
        min_rating_count: rated at least this often in the training data.
    """

    candidate_item_ids: tuple[str, ...] = ()
    excluded_item_ids: tuple[str, ...] = ()
    any_genres: tuple[str, ...] = ()
    excluded_genres: tuple[str, ...] = ()
    min_release_year: int | None = None
    max_release_year: int | None = None
    min_rating_count: int = 0


class RecommendOptions(TypedDict, total=False):
    """Keyword arguments of every kind of recommendation.

    Attributes:
        filter: which items may be returned.
        include_rated: return what the user has rated as well; default False.
        diversity: 0 by score alone, towards 1 the results differ more from each other; default 0.
        popularity_penalty: 0 to 10; each step takes that multiple of log(rating count + 1) off the score.
        unknown_user: "error" (the default) or "popular": answer for the average user, with `is_fallback` set.
        ranking: "popularity-corrected" (the default of a rating model) or "predicted-rating".
        min_predicted_rating: leaves out items whose predicted rating is lower.
        return_items: titles and attributes with each result; default True.
    """

    filter: ItemFilter
    include_rated: bool
    diversity: float
    popularity_penalty: float
    unknown_user: UnknownUser
    ranking: Ranking
    min_predicted_rating: float
    return_items: bool


@dataclass(frozen=True)
class ServedModel:
    """The model that answered.

    Attributes:
        name: its name.
        version: its version.
        execution_provider: what ran it, such as "CPUExecutionProvider".
    """

    name: str
    version: str
    execution_provider: str


@dataclass(frozen=True)
class Item:
    """An item of the catalogue.

    Attributes:
        item_id: its id in the training data.
        title: empty where the data has none.
        genres: its genres.
        release_year: None where it is not known.
        rating_count: ratings in the training data.
        bias: how much it is liked whatever one's taste.
    """

    item_id: str
    title: str
    genres: tuple[str, ...]
    release_year: int | None
    rating_count: int
    bias: float


@dataclass(frozen=True)
class ScoredItem:
    """An item and how it scored.

    Attributes:
        item_id: the item.
        score: what the list is ordered by: the ranking score, or a cosine similarity.
        predicted_rating: on the model's scale; None from similar_items and from a ranking model.
        item: title and attributes; None with return_items=False.
    """

    item_id: str
    score: float
    predicted_rating: float | None
    item: Item | None

    @property
    def title(self) -> str:
        """The item's title; its id where there is none."""
        return (self.item.title if self.item else "") or self.item_id


@dataclass(frozen=True)
class EntryError:
    """Why one entry of a request failed while others did not.

    Attributes:
        index: the entry's position, from 0.
        reason: such as "USER_NOT_FOUND".
        message: one sentence for people.
    """

    index: int
    reason: str
    message: str


@dataclass(frozen=True)
class Predictions:
    """Predicted ratings.

    Attributes:
        ratings: in the order of the items; NaN where `errors` has an entry.
        errors: entries that failed, with allow_partial_success.
        model: what answered.
    """

    ratings: tuple[float, ...]
    errors: tuple[EntryError, ...]
    model: ServedModel

    def __iter__(self) -> Iterator[float]:
        return iter(self.ratings)

    def __len__(self) -> int:
        return len(self.ratings)


@dataclass(frozen=True)
class Recommendations:
    """One page of recommendations; iterating goes over its results.

    Attributes:
        results: best first.
        next_page_token: empty on the last page.
        recommendation_id: unique to this answer, for the caller's own event log.
        missing_item_ids: candidates that the model does not know.
        is_fallback: the user was not known, and the answer is for the average user.
        model: what answered.
    """

    results: tuple[ScoredItem, ...]
    next_page_token: str
    recommendation_id: str
    missing_item_ids: tuple[str, ...]
    is_fallback: bool
    model: ServedModel

    def __iter__(self) -> Iterator[ScoredItem]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True)
class SimilarItems:
    """One page of similar items; iterating goes over its results.

    Attributes:
        results: by cosine of the item factors, highest first.
        next_page_token: empty on the last page.
        missing_item_ids: candidates that the model does not know.
        model: what answered.
    """

    results: tuple[ScoredItem, ...]
    next_page_token: str
    missing_item_ids: tuple[str, ...]
    model: ServedModel

    def __iter__(self) -> Iterator[ScoredItem]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True)
class NewUser:
    """A new user, folded in.

    Attributes:
        embedding: give it as the user of any other call.
        fit_rmse: root mean square error of the embedding on the ratings given; 0 without any.
        used_rating_count: ratings it was made from.
        missing_item_ids: rated items that the model does not know, with skip_unknown_items.
        ignored_profile_keys: sign-up answers that the model has no use for.
        model: what answered.
    """

    embedding: UserEmbedding
    fit_rmse: float
    used_rating_count: int
    missing_item_ids: tuple[str, ...]
    ignored_profile_keys: tuple[str, ...]
    model: ServedModel


@dataclass(frozen=True)
class Contribution:
    """What one rated item adds to a prediction.

    Attributes:
        item_id: the rated item.
        rating: what the user gave it.
        contribution: what it adds to `Explanation.interaction`.
    """

    item_id: str
    rating: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """What a prediction is made of.

    Attributes:
        score: global_bias + user_bias + item_bias + interaction, before the sigmoid.
        global_bias: the same for every user and item.
        user_bias: the user's share whatever the item.
        item_bias: the item's share whatever the user.
        interaction: what this user and this item have in common.
        contributions: the rated items behind `interaction`, largest absolute value first.
        remainder: the share of `interaction` that no listed item accounts for.
        predicted_rating: on the model's scale; None for a ranking model.
        model: what answered.
    """

    score: float
    global_bias: float
    user_bias: float
    item_bias: float
    interaction: float
    contributions: tuple[Contribution, ...]
    remainder: float
    predicted_rating: float | None
    model: ServedModel


@dataclass(frozen=True)
class ItemPage:
    """One page of the catalogue; iterating goes over its items.

    Attributes:
        items: in the order of the method.
        next_page_token: empty on the last page.
        model: what answered.
    """

    items: tuple[Item, ...]
    next_page_token: str
    model: ServedModel

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Model:
    """A model version as the server holds it.

    Attributes:
        name: its name.
        version: its version.
        labels: labels that point at this version.
        state: "loading", "ready", "unloading" or "failed".
        state_message: why, for "failed".
        architecture: "dot-product", "neural-network" or "hybrid".
        objective: "rating" or "ranking".
        user_count: users of the training data.
        item_count: items of the catalogue.
        factor_count: length of `UserEmbedding.factors`.
        rating_min: lowest rating of the scale.
        rating_max: highest rating of the scale.
        execution_providers: what the sessions really run on.
        embedding_space: fingerprint of the tables.
        profile_keys: sign-up answers that embed_new_user understands.
        metrics: held-out figures, such as {"rmse": 0.87}.
        train_time: when training ended, UTC.
        load_time: when this server loaded it, UTC.
        supports_new_users: whether embed_new_user and histories work.
        dataset: what it was trained on, for people.
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


@dataclass(frozen=True)
class ServingLimits:
    """What the server accepts in one request.

    Attributes:
        max_page_size: largest k.
        max_items_per_request: longest list of items, users or ratings.
        max_requests_per_batch: longest batch_recommend.
        max_queue_size: calls that may wait for the engine.
    """

    max_page_size: int
    max_items_per_request: int
    max_requests_per_batch: int
    max_queue_size: int


@dataclass(frozen=True)
class ModelDescription:
    """A model and the limits of the server that holds it."""

    model: Model
    limits: ServingLimits


@dataclass(frozen=True)
class ModelPage:
    """One page of the server's models; iterating goes over them.

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
