"""Build request messages from plain values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeVar, Unpack

from google.protobuf.timestamp_pb2 import Timestamp

from cofactor.v1 import catalog_pb2, model_pb2, recommender_pb2
from cofactor_client._filter_types import ItemFilter, refuse_string
from cofactor_client._request_types import (
    Event,
    ModelLike,
    Order,
    Ranking,
    RatingHistory,
    RecommendOptions,
    UserEmbedding,
    UserLike,
    UserOrRequest,
    checked_events,
)
from cofactor_client._rule_messages import add_rules, item_filter_message

_RANKINGS = {
    "popularity-corrected": recommender_pb2.RecommendRequest.RANKING_POPULARITY_CORRECTED,
    "predicted-rating": recommender_pb2.RecommendRequest.RANKING_PREDICTED_RATING,
}
_UNKNOWN_USERS = {
    "error": recommender_pb2.RecommendRequest.UNKNOWN_USER_POLICY_ERROR,
    "popular": recommender_pb2.RecommendRequest.UNKNOWN_USER_POLICY_POPULAR,
}
_ORDERS = {
    "highest-bias": catalog_pb2.ListTopItemsRequest.ORDER_HIGHEST_BIAS,
    "lowest-bias": catalog_pb2.ListTopItemsRequest.ORDER_LOWEST_BIAS,
    "most-rated": catalog_pb2.ListTopItemsRequest.ORDER_MOST_RATED,
    "most-informative": catalog_pb2.ListTopItemsRequest.ORDER_MOST_INFORMATIVE,
}

_OPTIONS = frozenset(RecommendOptions.__annotations__)

_Value = TypeVar("_Value")


def model_ref(model: ModelLike) -> model_pb2.ModelRef | None:
    """Build a ModelRef message. Returns None for the default model."""
    if model is None:
        return None
    if isinstance(model, str):
        return model_pb2.ModelRef(name=model)
    return model_pb2.ModelRef(name=model.name, version=model.version, label=model.label)


def _user(user: UserLike) -> recommender_pb2.User:
    """Build a User message from an id, an embedding, a history or a mapping of ratings."""
    if isinstance(user, str):
        return recommender_pb2.User(user_id=user)
    if isinstance(user, UserEmbedding):
        return recommender_pb2.User(embedding=recommender_pb2.UserEmbedding.FromString(user.to_bytes()))
    if isinstance(user, RatingHistory):
        history = recommender_pb2.RatingHistory(
            ratings=_ratings(user.ratings), profile=dict(user.profile), events=_events(user.events)
        )
        return recommender_pb2.User(history=history)
    if isinstance(user, Mapping):
        return recommender_pb2.User(history=recommender_pb2.RatingHistory(ratings=_ratings(user)))
    raise TypeError(
        "user: must be an id as a string, a UserEmbedding, a RatingHistory or a mapping of item ids to ratings, "
        f"not {type(user).__name__}"
    )


def predict(
    model: ModelLike, user: UserLike, item_ids: Iterable[str], *, allow_partial_success: bool
) -> recommender_pb2.PredictRequest:
    """Build a request for the ratings of one user for many items."""
    return recommender_pb2.PredictRequest(
        model=model_ref(model),
        user=_user(user),
        item_ids=_ids(item_ids, "item_ids"),
        allow_partial_success=allow_partial_success,
    )


def predict_pairs(
    model: ModelLike, user_ids: Iterable[str], item_ids: Iterable[str], *, allow_partial_success: bool
) -> recommender_pb2.PredictRequest:
    """Build a request for the ratings of pairs: one user per item."""
    return recommender_pb2.PredictRequest(
        model=model_ref(model),
        user_ids=_ids(user_ids, "user_ids"),
        item_ids=_ids(item_ids, "item_ids"),
        allow_partial_success=allow_partial_success,
    )


def recommend_request(
    user: UserLike, k: int = 10, **options: Unpack[RecommendOptions]
) -> recommender_pb2.RecommendRequest:
    """Build an entry of `batch_recommend` or `stream_recommend` with a k and options of its own.

    >>> recommend_request("1", k=3, filter=ItemFilter(any_genres=("Comedy",))).page_size
    3
    """
    check_options(options)
    request = recommender_pb2.RecommendRequest(
        user=_user(user),
        page_size=k,
        filter=item_filter_message(options.get("filter")),
        include_rated=options.get("include_rated", False),
        diversity=options.get("diversity", 0.0),
        popularity_penalty=options.get("popularity_penalty", 0.0),
        return_items=options.get("return_items", True),
        min_predicted_rating=options.get("min_predicted_rating"),
        explain_rules=options.get("explain_rules", False),
        exploration_share=options.get("exploration_share", 0.0),
        return_probabilities=options.get("return_probabilities", False),
    )
    add_rules(request, options.get("rules"), options.get("rule_set"))
    if "ranking" in options:
        request.ranking = _choice(_RANKINGS, options["ranking"], "ranking")
    if "unknown_user" in options:
        request.unknown_user_policy = _choice(_UNKNOWN_USERS, options["unknown_user"], "unknown_user")
    return request


def recommend(
    model: ModelLike, user: UserLike, k: int, page_token: str, options: RecommendOptions
) -> recommender_pb2.RecommendRequest:
    """Build a request for one page of recommendations."""
    request = recommend_request(user, k, **options)
    request.page_token = page_token
    if (ref := model_ref(model)) is not None:
        request.model.CopyFrom(ref)
    return request


def check_options(options: RecommendOptions) -> None:
    """Raise TypeError for a keyword argument that is not one of RecommendOptions."""
    if unknown := sorted(options.keys() - _OPTIONS):
        similar = difflib.get_close_matches(unknown[0], sorted(_OPTIONS), 1)
        advice = f"did you mean {similar[0]!r}?" if similar else f"the options are {', '.join(sorted(_OPTIONS))}"
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; {advice}")


def check_users(users: object) -> None:
    """Raise TypeError for one user in place of a list of users."""
    if isinstance(users, (str, bytes, Mapping, UserEmbedding, RatingHistory, recommender_pb2.RecommendRequest)):
        raise TypeError(f"users: must be a list of users, not one user ({type(users).__name__}); write [user]")


def batch_recommend(
    model: ModelLike, users: Iterable[UserOrRequest], k: int, options: RecommendOptions
) -> recommender_pb2.BatchRecommendRequest:
    """Build a request for recommendations for many users in one call."""
    check_options(options)
    check_users(users)
    return recommender_pb2.BatchRecommendRequest(
        model=model_ref(model), requests=[_recommend_entry(user, k, options) for user in users]
    )


def stream_recommend(
    model: ModelLike, index: int, user: UserOrRequest, k: int, options: RecommendOptions
) -> recommender_pb2.StreamRecommendRequest:
    """Build the request of entry `index` of a stream."""
    streamed = recommender_pb2.StreamRecommendRequest(request_id=str(index), request=_recommend_entry(user, k, options))
    if (ref := model_ref(model)) is not None and not streamed.request.HasField("model"):
        streamed.request.model.CopyFrom(ref)
    return streamed


def similar_items(
    model: ModelLike,
    item_ids: str | Iterable[str],
    k: int,
    page_token: str,
    *,
    filter: ItemFilter | None,
    return_items: bool,
) -> recommender_pb2.SimilarItemsRequest:
    """Build a request for the items similar to one item or several."""
    return recommender_pb2.SimilarItemsRequest(
        model=model_ref(model),
        item_ids=[item_ids] if isinstance(item_ids, str) else _ids(item_ids, "item_ids"),
        page_size=k,
        page_token=page_token,
        filter=item_filter_message(filter),
        return_items=return_items,
    )


def embed_new_user(
    model: ModelLike,
    ratings: Mapping[str, float] | None,
    events: Iterable[str | Event],
    profile: Mapping[str, str] | None,
    *,
    skip_unknown_items: bool,
) -> recommender_pb2.EmbedNewUserRequest:
    """Build a request that folds in a new user."""
    return recommender_pb2.EmbedNewUserRequest(
        model=model_ref(model),
        ratings=_ratings({} if ratings is None else ratings),
        events=_events(events),
        profile=dict(profile or {}),
        skip_unknown_items=skip_unknown_items,
    )


def explain(
    model: ModelLike,
    user: UserLike,
    item_id: str,
    max_contributions: int,
    *,
    ranking: Ranking | None,
    popularity_penalty: float,
) -> recommender_pb2.ExplainRequest:
    """Build a request for the explanation of one prediction and of the item's place in the list."""
    request = recommender_pb2.ExplainRequest(
        model=model_ref(model),
        user=_user(user),
        item_id=item_id,
        max_contributions=max_contributions,
        popularity_penalty=popularity_penalty,
    )
    if ranking is not None:
        request.ranking = _choice(_RANKINGS, ranking, "ranking")
    return request


def top_items(model: ModelLike, order: Order, k: int, page_token: str) -> catalog_pb2.ListTopItemsRequest:
    """Build a request for items by bias, by number of ratings, or by what they tell about a new user."""
    return catalog_pb2.ListTopItemsRequest(
        model=model_ref(model), order=_choice(_ORDERS, order, "order"), page_size=k, page_token=page_token
    )


def item_map(model: ModelLike, max_items: int) -> catalog_pb2.GetItemMapRequest:
    """Build a request for the map of the most rated items."""
    return catalog_pb2.GetItemMapRequest(model=model_ref(model), max_items=max_items)


def search_items(model: ModelLike, query: str, k: int, page_token: str) -> catalog_pb2.SearchItemsRequest:
    """Build a request for the items whose title contains the words of `query`."""
    return catalog_pb2.SearchItemsRequest(model=model_ref(model), query=query, page_size=k, page_token=page_token)


def get_model(model: ModelLike) -> catalog_pb2.GetModelRequest:
    """Build a request for the description of one model."""
    return catalog_pb2.GetModelRequest(model=model_ref(model))


def list_models(k: int, page_token: str) -> catalog_pb2.ListModelsRequest:
    """Build a request for one page of the server's models."""
    return catalog_pb2.ListModelsRequest(page_size=k, page_token=page_token)


def _recommend_entry(user: UserOrRequest, k: int, options: RecommendOptions) -> recommender_pb2.RecommendRequest:
    if isinstance(user, recommender_pb2.RecommendRequest):
        return user
    return recommend_request(user, k, **options)


def _ratings(ratings: Mapping[str, float]) -> list[recommender_pb2.Rating]:
    if not isinstance(ratings, Mapping):
        raise TypeError(f"ratings: must be a mapping of item ids to ratings, not {type(ratings).__name__}")
    return [recommender_pb2.Rating(item_id=item_id, rating=rating) for item_id, rating in ratings.items()]


def _events(events: Iterable[str | Event]) -> list[recommender_pb2.Event]:
    return [
        recommender_pb2.Event(
            item_id=event.item_id, event_type=event.event_type, count=event.count, time=timestamp(event.time)
        )
        for event in checked_events(events)
    ]


def timestamp(time: datetime | None) -> Timestamp | None:
    """Build a Timestamp message. Returns None for no time."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def _ids(ids: Iterable[str], name: str) -> Iterable[str]:
    refuse_string(ids, name, "ids")
    return ids


def _choice(choices: Mapping[str, _Value], chosen: str, name: str) -> _Value:
    try:
        return choices[chosen]
    except KeyError:
        raise ValueError(f"{name}: must be one of {', '.join(choices)}, not {chosen!r}") from None
