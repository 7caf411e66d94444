"""What goes into a call, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
