"""What comes out of a call, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from cofactor_client._request_types import UserEmbedding


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
