"""Response messages to plain values."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from cofactor.v1 import catalog_pb2, model_pb2, recommender_pb2
from cofactor_client._request_types import UserEmbedding
from cofactor_client._response_types import (
    Contribution,
    EntryError,
    Explanation,
    Item,
    ItemPage,
    Model,
    ModelDescription,
    ModelPage,
    NewUser,
    Predictions,
    Recommendations,
    ScoredItem,
    ServedModel,
    ServingLimits,
    SimilarItems,
)


def predictions(response: recommender_pb2.PredictResponse) -> Predictions:
    """Predict's answer."""
    return Predictions(
        tuple(response.ratings), tuple(_entry_error(e) for e in response.errors), _served(response.model)
    )


def recommendations(
    response: recommender_pb2.RecommendResponse, model: model_pb2.ServedModel | None = None
) -> Recommendations:
    """Recommend's answer; `model` where the answer is one of a batch and names none itself."""
    return Recommendations(
        results=tuple(_scored_item(result) for result in response.results),
        next_page_token=response.next_page_token,
        recommendation_id=response.recommendation_id,
        missing_item_ids=tuple(response.missing_item_ids),
        is_fallback=response.is_fallback,
        model=_served(model or response.model),
    )


def batch(response: recommender_pb2.BatchRecommendResponse) -> list[Recommendations | EntryError]:
    """BatchRecommend's answer, in the order of the requests."""
    return [
        recommendations(entry.response, response.model) if entry.HasField("response") else _entry_error(entry.error)
        for entry in response.entries
    ]


def streamed(response: recommender_pb2.StreamRecommendResponse) -> tuple[int, Recommendations | EntryError]:
    """One answer of StreamRecommend, with its request's position."""
    index = int(response.request_id)
    if response.HasField("response"):
        return index, recommendations(response.response)
    return index, EntryError(index, response.error.reason, response.error.message)


def similar_items(response: recommender_pb2.SimilarItemsResponse) -> SimilarItems:
    """SimilarItems' answer."""
    return SimilarItems(
        results=tuple(_scored_item(result) for result in response.results),
        next_page_token=response.next_page_token,
        missing_item_ids=tuple(response.missing_item_ids),
        model=_served(response.model),
    )


def new_user(response: recommender_pb2.EmbedNewUserResponse) -> NewUser:
    """EmbedNewUser's answer."""
    return NewUser(
        embedding=UserEmbedding.from_bytes(response.embedding.SerializeToString()),
        fit_rmse=response.fit_rmse,
        used_rating_count=response.used_rating_count,
        missing_item_ids=tuple(response.missing_item_ids),
        ignored_profile_keys=tuple(response.ignored_profile_keys),
        model=_served(response.model),
    )


def explanation(response: recommender_pb2.ExplainResponse) -> Explanation:
    """Explain's answer."""
    return Explanation(
        score=response.score,
        global_bias=response.global_bias,
        user_bias=response.user_bias,
        item_bias=response.item_bias,
        interaction=response.interaction,
        contributions=tuple(Contribution(c.item_id, c.rating, c.contribution) for c in response.contributions),
        remainder=response.remainder,
        predicted_rating=response.predicted_rating if response.HasField("predicted_rating") else None,
        model=_served(response.model),
    )


def item_page(response: catalog_pb2.SearchItemsResponse | catalog_pb2.ListTopItemsResponse) -> ItemPage:
    """SearchItems' and ListTopItems' answer."""
    return ItemPage(tuple(_item(item) for item in response.items), response.next_page_token, _served(response.model))


def model_page(response: catalog_pb2.ListModelsResponse) -> ModelPage:
    """ListModels' answer."""
    return ModelPage(tuple(_model(model) for model in response.models), response.next_page_token)


def model_description(response: catalog_pb2.GetModelResponse) -> ModelDescription:
    """GetModel's answer."""
    limits = response.limits
    return ModelDescription(
        _model(response.model),
        ServingLimits(
            max_page_size=limits.max_page_size,
            max_items_per_request=limits.max_items_per_request,
            max_requests_per_batch=limits.max_requests_per_batch,
            max_queue_size=limits.max_queue_size,
        ),
    )


def _model(model: model_pb2.Model) -> Model:
    return Model(
        name=model.name,
        version=model.version,
        labels=tuple(model.labels),
        state=model_pb2.Model.State.Name(model.state).removeprefix("STATE_").lower(),
        state_message=model.state_message,
        architecture=model.architecture,
        objective=model.objective,
        user_count=model.user_count,
        item_count=model.item_count,
        factor_count=model.factor_count,
        rating_min=model.rating_min,
        rating_max=model.rating_max,
        execution_providers=tuple(model.execution_providers),
        embedding_space=model.embedding_space,
        profile_keys=tuple(model.profile_keys),
        metrics=dict(model.metrics),
        train_time=_time(model.train_time) if model.HasField("train_time") else None,
        load_time=_time(model.load_time) if model.HasField("load_time") else None,
        supports_new_users=model.supports_new_users,
        dataset=model.dataset,
    )


def _time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def _served(model: model_pb2.ServedModel) -> ServedModel:
    return ServedModel(model.name, model.version, model.execution_provider)


def _item(item: model_pb2.Item) -> Item:
    return Item(
        item_id=item.item_id,
        title=item.title,
        genres=tuple(item.genres),
        release_year=item.release_year or None,
        rating_count=item.rating_count,
        bias=item.bias,
    )


def _scored_item(scored: recommender_pb2.ScoredItem) -> ScoredItem:
    return ScoredItem(
        item_id=scored.item_id,
        score=scored.score,
        predicted_rating=scored.predicted_rating if scored.HasField("predicted_rating") else None,
        item=_item(scored.item) if scored.HasField("item") else None,
    )


def _entry_error(error: recommender_pb2.EntryError) -> EntryError:
    return EntryError(error.index, error.reason, error.message)
