"""Parse response messages into plain values."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from cofactor.v1 import catalog_pb2, model_pb2, recommender_pb2
from cofactor_client._catalog_types import (
    AttributeValue,
    EventType,
    Item,
    ItemAttribute,
    ItemMap,
    ItemPage,
    MapLabel,
    MapPoint,
    Model,
    ModelDescription,
    ModelEvents,
    ModelPage,
    ProfileQuestion,
    ServedModel,
    ServingLimits,
)
from cofactor_client._request_types import UserEmbedding
from cofactor_client._response_types import (
    AppliedRule,
    Contribution,
    EntryError,
    Explanation,
    NewUser,
    Predictions,
    RankingReason,
    RankingScore,
    Recommendations,
    ScoredItem,
    SimilarItems,
)


def predictions(response: recommender_pb2.PredictResponse) -> Predictions:
    """Parse the response of Predict."""
    errors = tuple(_entry_error(error) for error in response.errors)
    return Predictions(tuple(response.ratings), errors, _served_model(response.model))


def recommendations(
    response: recommender_pb2.RecommendResponse, model: model_pb2.ServedModel | None = None
) -> Recommendations:
    """Parse the response of Recommend. `model` is the batch's, for an entry of a batch, which names none itself."""
    return Recommendations(
        results=tuple(_scored_item(result) for result in response.results),
        next_page_token=response.next_page_token,
        recommendation_id=response.recommendation_id,
        missing_item_ids=tuple(response.missing_item_ids),
        is_fallback=response.is_fallback,
        model=_served_model(model or response.model),
    )


def batch_entries(response: recommender_pb2.BatchRecommendResponse) -> list[Recommendations | EntryError]:
    """Parse the response of BatchRecommend, in the order of the requests."""
    return [
        recommendations(entry.response, response.model) if entry.HasField("response") else _entry_error(entry.error)
        for entry in response.entries
    ]


def stream_entry(response: recommender_pb2.StreamRecommendResponse) -> tuple[int, Recommendations | EntryError]:
    """Parse one response of StreamRecommend and the position of its request."""
    index = int(response.request_id)
    if response.HasField("response"):
        return index, recommendations(response.response)
    return index, EntryError(index, response.error.reason, response.error.message)


def similar_items(response: recommender_pb2.SimilarItemsResponse) -> SimilarItems:
    """Parse the response of SimilarItems."""
    return SimilarItems(
        results=tuple(_scored_item(result) for result in response.results),
        next_page_token=response.next_page_token,
        missing_item_ids=tuple(response.missing_item_ids),
        model=_served_model(response.model),
    )


def new_user(response: recommender_pb2.EmbedNewUserResponse) -> NewUser:
    """Parse the response of EmbedNewUser."""
    return NewUser(
        embedding=UserEmbedding.from_bytes(response.embedding.SerializeToString()),
        fit_rmse=response.fit_rmse,
        used_rating_count=response.used_rating_count,
        missing_item_ids=tuple(response.missing_item_ids),
        ignored_profile_keys=tuple(response.ignored_profile_keys),
        used_event_count=response.used_event_count,
        model=_served_model(response.model),
    )


def explanation(response: recommender_pb2.ExplainResponse) -> Explanation:
    """Parse the response of Explain."""
    return Explanation(
        score=response.score,
        global_bias=response.global_bias,
        user_bias=response.user_bias,
        item_bias=response.item_bias,
        interaction=response.interaction,
        contributions=tuple(Contribution(c.item_id, c.rating, c.contribution) for c in response.contributions),
        remainder=response.remainder,
        predicted_rating=response.predicted_rating if response.HasField("predicted_rating") else None,
        model=_served_model(response.model),
        ranking_score=response.ranking_score,
        popularity=response.popularity,
        average_interaction=response.average_interaction,
        other_contributions=response.other_contributions,
        other_rating_count=response.other_rating_count,
        unexplained=response.unexplained,
        ranking=_ranking_score(response.ranking) if response.HasField("ranking") else None,
    )


def item_page(response: catalog_pb2.SearchItemsResponse | catalog_pb2.ListTopItemsResponse) -> ItemPage:
    """Parse the response of SearchItems or ListTopItems."""
    return ItemPage(tuple(map(_item, response.items)), response.next_page_token, _served_model(response.model))


def item_map(response: catalog_pb2.GetItemMapResponse) -> ItemMap:
    """Parse the response of GetItemMap."""
    points = tuple(
        MapPoint(p.item_id, p.title, p.x, p.y, p.rating_count, p.bias, tuple(p.genres)) for p in response.points
    )
    labels = tuple(MapLabel(label.x, label.y, label.text) for label in response.labels)
    return ItemMap(points, labels, _served_model(response.model))


def model_page(response: catalog_pb2.ListModelsResponse) -> ModelPage:
    """Parse the response of ListModels."""
    return ModelPage(tuple(_model(model) for model in response.models), response.next_page_token)


def model_description(response: catalog_pb2.GetModelResponse) -> ModelDescription:
    """Parse the response of GetModel."""
    limits = response.limits
    return ModelDescription(
        _model(response.model),
        ServingLimits(
            max_page_size=limits.max_page_size,
            max_items_per_request=limits.max_items_per_request,
            max_requests_per_batch=limits.max_requests_per_batch,
            max_queue_size=limits.max_queue_size,
            max_response_bytes=limits.max_response_bytes,
            max_request_bytes=limits.max_request_bytes,
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
        metrics_protocol=model.metrics_protocol,
        has_ranking_part=model.has_ranking_part,
        events=_model_events(model.events) if model.HasField("events") else None,
        attributes=tuple(map(_item_attribute, model.attributes)),
        supports_new_items=model.supports_new_items,
        overlay_sequence=model.overlay_sequence,
        supports_probabilities=model.supports_probabilities,
        probability_meaning=model.probability_meaning,
        profile_questions=tuple(map(_profile_question, model.profile_questions)),
    )


def _profile_question(question: model_pb2.ProfileQuestion) -> ProfileQuestion:
    if question.WhichOneof("kind") == "choice":
        return ProfileQuestion(question.key, "choice", answers=tuple(question.choice.answers))
    number = question.number
    lowest = number.lowest if number.HasField("lowest") else None
    highest = number.highest if number.HasField("highest") else None
    return ProfileQuestion(question.key, "number", mean=number.mean, lowest=lowest, highest=highest)


def _item_attribute(attribute: model_pb2.ItemAttribute) -> ItemAttribute:
    return ItemAttribute(
        name=attribute.name,
        type=model_pb2.ItemAttribute.Type.Name(attribute.type).removeprefix("TYPE_").lower(),
        built_in=attribute.built_in,
        item_count=attribute.item_count,
        distinct_count=attribute.distinct_count,
        lowest=_attribute_value(attribute.lowest) if attribute.HasField("lowest") else None,
        highest=_attribute_value(attribute.highest) if attribute.HasField("highest") else None,
        examples=tuple(attribute.examples),
    )


def _attribute_value(value: model_pb2.AttributeValue) -> AttributeValue | None:
    """Return the value of an attribute, None for a kind that this client does not know."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "time":
        return _time(value.time)
    plain: AttributeValue = tuple(value.texts.values) if kind == "texts" else getattr(value, kind)
    return plain


def _attributes(item: model_pb2.Item) -> dict[str, AttributeValue]:
    values = ((name, _attribute_value(value)) for name, value in item.attributes.items())
    return {name: value for name, value in values if value is not None}


def _model_events(events: model_pb2.Model.Events) -> ModelEvents:
    return ModelEvents(
        types=tuple(EventType(kind.name, kind.weight, kind.negative, kind.event_count) for kind in events.types),
        half_life_seconds=events.half_life_seconds,
        weight_cap=events.weight_cap,
        log_weights=events.log_weights,
        newest_event_time=_time(events.newest_event_time) if events.HasField("newest_event_time") else None,
        rating_weight=events.rating_weight,
        recency_boost=events.recency_boost,
        recency_decay=events.recency_decay,
    )


def _time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def _served_model(model: model_pb2.ServedModel) -> ServedModel:
    return ServedModel(model.name, model.version, model.execution_provider, model.overlay_sequence)


def _item(item: model_pb2.Item) -> Item:
    return Item(
        item_id=item.item_id,
        title=item.title,
        genres=tuple(item.genres),
        release_year=item.release_year or None,
        rating_count=item.rating_count,
        bias=item.bias,
        attributes=_attributes(item),
    )


def _scored_item(scored: recommender_pb2.ScoredItem) -> ScoredItem:
    return ScoredItem(
        item_id=scored.item_id,
        score=scored.score,
        predicted_rating=scored.predicted_rating if scored.HasField("predicted_rating") else None,
        item=_item(scored.item) if scored.HasField("item") else None,
        applied_rules=tuple(map(_applied_rule, scored.applied_rules)),
        is_exploration=scored.is_exploration,
        propensity=scored.propensity if scored.HasField("propensity") else None,
        probability=scored.probability if scored.HasField("probability") else None,
    )


def _applied_rule(rule: recommender_pb2.AppliedRule) -> AppliedRule:
    kind = recommender_pb2.AppliedRule.Kind.Name(rule.kind).removeprefix("KIND_").lower()
    return AppliedRule(rule.name, kind, rule.score_change)


def _ranking_score(ranking: recommender_pb2.ExplainResponse.RankingScore) -> RankingScore:
    return RankingScore(
        rating_weight=ranking.rating_weight,
        ranking_weight=ranking.ranking_weight,
        ranking_logit=ranking.ranking_logit,
        item_part=ranking.item_part,
        user_part=ranking.user_part,
        reasons=tuple(
            RankingReason(
                r.item_id, r.rating, r.contribution, r.own_contribution, r.similar_rating_count, r.event_weight
            )
            for r in ranking.reasons
        ),
        other_part=ranking.other_part,
        other_rating_count=ranking.other_rating_count,
        unexplained=ranking.unexplained,
    )


def _entry_error(error: recommender_pb2.EntryError) -> EntryError:
    return EntryError(error.index, error.reason, error.message)
