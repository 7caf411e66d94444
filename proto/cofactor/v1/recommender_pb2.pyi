from cofactor.v1 import model_pb2 as _model_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Rating(_message.Message):
    __slots__ = ("item_id", "rating")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    rating: float
    def __init__(self, item_id: _Optional[str] = ..., rating: _Optional[float] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("item_id", "event_type", "count", "time")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    event_type: str
    count: float
    time: _timestamp_pb2.Timestamp
    def __init__(self, item_id: _Optional[str] = ..., event_type: _Optional[str] = ..., count: _Optional[float] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UserEmbedding(_message.Message):
    __slots__ = ("factors", "bias", "embedding_space", "rated_item_ids")
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SPACE_FIELD_NUMBER: _ClassVar[int]
    RATED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    factors: _containers.RepeatedScalarFieldContainer[float]
    bias: float
    embedding_space: str
    rated_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, factors: _Optional[_Iterable[float]] = ..., bias: _Optional[float] = ..., embedding_space: _Optional[str] = ..., rated_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RatingHistory(_message.Message):
    __slots__ = ("ratings", "profile", "events")
    class ProfileEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    ratings: _containers.RepeatedCompositeFieldContainer[Rating]
    profile: _containers.ScalarMap[str, str]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, ratings: _Optional[_Iterable[_Union[Rating, _Mapping]]] = ..., profile: _Optional[_Mapping[str, str]] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class User(_message.Message):
    __slots__ = ("user_id", "embedding", "history")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    embedding: UserEmbedding
    history: RatingHistory
    def __init__(self, user_id: _Optional[str] = ..., embedding: _Optional[_Union[UserEmbedding, _Mapping]] = ..., history: _Optional[_Union[RatingHistory, _Mapping]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "user", "user_ids", "item_ids", "allow_partial_success")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_SUCCESS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    user: User
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    allow_partial_success: bool
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., user: _Optional[_Union[User, _Mapping]] = ..., user_ids: _Optional[_Iterable[str]] = ..., item_ids: _Optional[_Iterable[str]] = ..., allow_partial_success: bool = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("ratings", "errors", "model")
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ratings: _containers.RepeatedScalarFieldContainer[float]
    errors: _containers.RepeatedCompositeFieldContainer[EntryError]
    model: _model_pb2.ServedModel
    def __init__(self, ratings: _Optional[_Iterable[float]] = ..., errors: _Optional[_Iterable[_Union[EntryError, _Mapping]]] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ...) -> None: ...

class EntryError(_message.Message):
    __slots__ = ("index", "reason", "message")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    reason: str
    message: str
    def __init__(self, index: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ItemFilter(_message.Message):
    __slots__ = ("candidate_item_ids", "excluded_item_ids", "any_genres", "excluded_genres", "min_release_year", "max_release_year", "min_rating_count", "expression")
    CANDIDATE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    ANY_GENRES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_GENRES_FIELD_NUMBER: _ClassVar[int]
    MIN_RELEASE_YEAR_FIELD_NUMBER: _ClassVar[int]
    MAX_RELEASE_YEAR_FIELD_NUMBER: _ClassVar[int]
    MIN_RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    candidate_item_ids: _containers.RepeatedScalarFieldContainer[str]
    excluded_item_ids: _containers.RepeatedScalarFieldContainer[str]
    any_genres: _containers.RepeatedScalarFieldContainer[str]
    excluded_genres: _containers.RepeatedScalarFieldContainer[str]
    min_release_year: int
    max_release_year: int
    min_rating_count: int
    expression: str
    def __init__(self, candidate_item_ids: _Optional[_Iterable[str]] = ..., excluded_item_ids: _Optional[_Iterable[str]] = ..., any_genres: _Optional[_Iterable[str]] = ..., excluded_genres: _Optional[_Iterable[str]] = ..., min_release_year: _Optional[int] = ..., max_release_year: _Optional[int] = ..., min_rating_count: _Optional[int] = ..., expression: _Optional[str] = ...) -> None: ...

class RuleSet(_message.Message):
    __slots__ = ("boosts", "pins", "caps", "guarantees")
    class Boost(_message.Message):
        __slots__ = ("name", "filter", "add", "multiply")
        NAME_FIELD_NUMBER: _ClassVar[int]
        FILTER_FIELD_NUMBER: _ClassVar[int]
        ADD_FIELD_NUMBER: _ClassVar[int]
        MULTIPLY_FIELD_NUMBER: _ClassVar[int]
        name: str
        filter: ItemFilter
        add: float
        multiply: float
        def __init__(self, name: _Optional[str] = ..., filter: _Optional[_Union[ItemFilter, _Mapping]] = ..., add: _Optional[float] = ..., multiply: _Optional[float] = ...) -> None: ...
    class Pin(_message.Message):
        __slots__ = ("name", "item_id", "position")
        NAME_FIELD_NUMBER: _ClassVar[int]
        ITEM_ID_FIELD_NUMBER: _ClassVar[int]
        POSITION_FIELD_NUMBER: _ClassVar[int]
        name: str
        item_id: str
        position: int
        def __init__(self, name: _Optional[str] = ..., item_id: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...
    class Cap(_message.Message):
        __slots__ = ("name", "attribute", "max_count", "window")
        NAME_FIELD_NUMBER: _ClassVar[int]
        ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
        MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
        WINDOW_FIELD_NUMBER: _ClassVar[int]
        name: str
        attribute: str
        max_count: int
        window: int
        def __init__(self, name: _Optional[str] = ..., attribute: _Optional[str] = ..., max_count: _Optional[int] = ..., window: _Optional[int] = ...) -> None: ...
    class Guarantee(_message.Message):
        __slots__ = ("name", "filter", "min_count", "min_share", "window")
        NAME_FIELD_NUMBER: _ClassVar[int]
        FILTER_FIELD_NUMBER: _ClassVar[int]
        MIN_COUNT_FIELD_NUMBER: _ClassVar[int]
        MIN_SHARE_FIELD_NUMBER: _ClassVar[int]
        WINDOW_FIELD_NUMBER: _ClassVar[int]
        name: str
        filter: ItemFilter
        min_count: int
        min_share: float
        window: int
        def __init__(self, name: _Optional[str] = ..., filter: _Optional[_Union[ItemFilter, _Mapping]] = ..., min_count: _Optional[int] = ..., min_share: _Optional[float] = ..., window: _Optional[int] = ...) -> None: ...
    BOOSTS_FIELD_NUMBER: _ClassVar[int]
    PINS_FIELD_NUMBER: _ClassVar[int]
    CAPS_FIELD_NUMBER: _ClassVar[int]
    GUARANTEES_FIELD_NUMBER: _ClassVar[int]
    boosts: _containers.RepeatedCompositeFieldContainer[RuleSet.Boost]
    pins: _containers.RepeatedCompositeFieldContainer[RuleSet.Pin]
    caps: _containers.RepeatedCompositeFieldContainer[RuleSet.Cap]
    guarantees: _containers.RepeatedCompositeFieldContainer[RuleSet.Guarantee]
    def __init__(self, boosts: _Optional[_Iterable[_Union[RuleSet.Boost, _Mapping]]] = ..., pins: _Optional[_Iterable[_Union[RuleSet.Pin, _Mapping]]] = ..., caps: _Optional[_Iterable[_Union[RuleSet.Cap, _Mapping]]] = ..., guarantees: _Optional[_Iterable[_Union[RuleSet.Guarantee, _Mapping]]] = ...) -> None: ...

class RuleSets(_message.Message):
    __slots__ = ("rule_sets",)
    class RuleSetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: RuleSet
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[RuleSet, _Mapping]] = ...) -> None: ...
    RULE_SETS_FIELD_NUMBER: _ClassVar[int]
    rule_sets: _containers.MessageMap[str, RuleSet]
    def __init__(self, rule_sets: _Optional[_Mapping[str, RuleSet]] = ...) -> None: ...

class AppliedRule(_message.Message):
    __slots__ = ("name", "kind", "score_change")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[AppliedRule.Kind]
        KIND_BOOST: _ClassVar[AppliedRule.Kind]
        KIND_PIN: _ClassVar[AppliedRule.Kind]
        KIND_CAP: _ClassVar[AppliedRule.Kind]
        KIND_GUARANTEE: _ClassVar[AppliedRule.Kind]
    KIND_UNSPECIFIED: AppliedRule.Kind
    KIND_BOOST: AppliedRule.Kind
    KIND_PIN: AppliedRule.Kind
    KIND_CAP: AppliedRule.Kind
    KIND_GUARANTEE: AppliedRule.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SCORE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: AppliedRule.Kind
    score_change: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[AppliedRule.Kind, str]] = ..., score_change: _Optional[float] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("model", "user", "page_size", "page_token", "filter", "include_rated", "diversity", "popularity_penalty", "unknown_user_policy", "return_items", "ranking", "min_predicted_rating", "rules", "rule_set", "explain_rules", "exploration_share", "return_probabilities")
    class UnknownUserPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN_USER_POLICY_UNSPECIFIED: _ClassVar[RecommendRequest.UnknownUserPolicy]
        UNKNOWN_USER_POLICY_ERROR: _ClassVar[RecommendRequest.UnknownUserPolicy]
        UNKNOWN_USER_POLICY_POPULAR: _ClassVar[RecommendRequest.UnknownUserPolicy]
    UNKNOWN_USER_POLICY_UNSPECIFIED: RecommendRequest.UnknownUserPolicy
    UNKNOWN_USER_POLICY_ERROR: RecommendRequest.UnknownUserPolicy
    UNKNOWN_USER_POLICY_POPULAR: RecommendRequest.UnknownUserPolicy
    class Ranking(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RANKING_UNSPECIFIED: _ClassVar[RecommendRequest.Ranking]
        RANKING_POPULARITY_CORRECTED: _ClassVar[RecommendRequest.Ranking]
        RANKING_PREDICTED_RATING: _ClassVar[RecommendRequest.Ranking]
    RANKING_UNSPECIFIED: RecommendRequest.Ranking
    RANKING_POPULARITY_CORRECTED: RecommendRequest.Ranking
    RANKING_PREDICTED_RATING: RecommendRequest.Ranking
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RATED_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_USER_POLICY_FIELD_NUMBER: _ClassVar[int]
    RETURN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    MIN_PREDICTED_RATING_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    RULE_SET_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_RULES_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_SHARE_FIELD_NUMBER: _ClassVar[int]
    RETURN_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    user: User
    page_size: int
    page_token: str
    filter: ItemFilter
    include_rated: bool
    diversity: float
    popularity_penalty: float
    unknown_user_policy: RecommendRequest.UnknownUserPolicy
    return_items: bool
    ranking: RecommendRequest.Ranking
    min_predicted_rating: float
    rules: RuleSet
    rule_set: str
    explain_rules: bool
    exploration_share: float
    return_probabilities: bool
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., user: _Optional[_Union[User, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[ItemFilter, _Mapping]] = ..., include_rated: bool = ..., diversity: _Optional[float] = ..., popularity_penalty: _Optional[float] = ..., unknown_user_policy: _Optional[_Union[RecommendRequest.UnknownUserPolicy, str]] = ..., return_items: bool = ..., ranking: _Optional[_Union[RecommendRequest.Ranking, str]] = ..., min_predicted_rating: _Optional[float] = ..., rules: _Optional[_Union[RuleSet, _Mapping]] = ..., rule_set: _Optional[str] = ..., explain_rules: bool = ..., exploration_share: _Optional[float] = ..., return_probabilities: bool = ...) -> None: ...

class ScoredItem(_message.Message):
    __slots__ = ("item_id", "score", "predicted_rating", "item", "applied_rules", "is_exploration", "propensity", "probability")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_RATING_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    APPLIED_RULES_FIELD_NUMBER: _ClassVar[int]
    IS_EXPLORATION_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    score: float
    predicted_rating: float
    item: _model_pb2.Item
    applied_rules: _containers.RepeatedCompositeFieldContainer[AppliedRule]
    is_exploration: bool
    propensity: float
    probability: float
    def __init__(self, item_id: _Optional[str] = ..., score: _Optional[float] = ..., predicted_rating: _Optional[float] = ..., item: _Optional[_Union[_model_pb2.Item, _Mapping]] = ..., applied_rules: _Optional[_Iterable[_Union[AppliedRule, _Mapping]]] = ..., is_exploration: bool = ..., propensity: _Optional[float] = ..., probability: _Optional[float] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("results", "next_page_token", "recommendation_id", "missing_item_ids", "is_fallback", "model")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATION_ID_FIELD_NUMBER: _ClassVar[int]
    MISSING_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    IS_FALLBACK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ScoredItem]
    next_page_token: str
    recommendation_id: str
    missing_item_ids: _containers.RepeatedScalarFieldContainer[str]
    is_fallback: bool
    model: _model_pb2.ServedModel
    def __init__(self, results: _Optional[_Iterable[_Union[ScoredItem, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., recommendation_id: _Optional[str] = ..., missing_item_ids: _Optional[_Iterable[str]] = ..., is_fallback: bool = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ...) -> None: ...

class SimilarItemsRequest(_message.Message):
    __slots__ = ("model", "item_ids", "page_size", "page_token", "filter", "return_items")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    RETURN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    filter: ItemFilter
    return_items: bool
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., item_ids: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[ItemFilter, _Mapping]] = ..., return_items: bool = ...) -> None: ...

class SimilarItemsResponse(_message.Message):
    __slots__ = ("results", "next_page_token", "missing_item_ids", "model")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MISSING_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ScoredItem]
    next_page_token: str
    missing_item_ids: _containers.RepeatedScalarFieldContainer[str]
    model: _model_pb2.ServedModel
    def __init__(self, results: _Optional[_Iterable[_Union[ScoredItem, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., missing_item_ids: _Optional[_Iterable[str]] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ...) -> None: ...

class EmbedNewUserRequest(_message.Message):
    __slots__ = ("model", "ratings", "profile", "skip_unknown_items", "events")
    class ProfileEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SKIP_UNKNOWN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    ratings: _containers.RepeatedCompositeFieldContainer[Rating]
    profile: _containers.ScalarMap[str, str]
    skip_unknown_items: bool
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., ratings: _Optional[_Iterable[_Union[Rating, _Mapping]]] = ..., profile: _Optional[_Mapping[str, str]] = ..., skip_unknown_items: bool = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class EmbedNewUserResponse(_message.Message):
    __slots__ = ("embedding", "fit_rmse", "used_rating_count", "missing_item_ids", "ignored_profile_keys", "model", "used_event_count")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    FIT_RMSE_FIELD_NUMBER: _ClassVar[int]
    USED_RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSING_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    IGNORED_PROFILE_KEYS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USED_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    embedding: UserEmbedding
    fit_rmse: float
    used_rating_count: int
    missing_item_ids: _containers.RepeatedScalarFieldContainer[str]
    ignored_profile_keys: _containers.RepeatedScalarFieldContainer[str]
    model: _model_pb2.ServedModel
    used_event_count: int
    def __init__(self, embedding: _Optional[_Union[UserEmbedding, _Mapping]] = ..., fit_rmse: _Optional[float] = ..., used_rating_count: _Optional[int] = ..., missing_item_ids: _Optional[_Iterable[str]] = ..., ignored_profile_keys: _Optional[_Iterable[str]] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ..., used_event_count: _Optional[int] = ...) -> None: ...

class ItemRating(_message.Message):
    __slots__ = ("user_id", "rating")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    rating: float
    def __init__(self, user_id: _Optional[str] = ..., rating: _Optional[float] = ...) -> None: ...

class ItemEvent(_message.Message):
    __slots__ = ("user_id", "event_type", "count", "time")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    event_type: str
    count: float
    time: _timestamp_pb2.Timestamp
    def __init__(self, user_id: _Optional[str] = ..., event_type: _Optional[str] = ..., count: _Optional[float] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ItemEmbedding(_message.Message):
    __slots__ = ("factors", "bias", "embedding_space", "rating_count")
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SPACE_FIELD_NUMBER: _ClassVar[int]
    RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    factors: _containers.RepeatedScalarFieldContainer[float]
    bias: float
    embedding_space: str
    rating_count: int
    def __init__(self, factors: _Optional[_Iterable[float]] = ..., bias: _Optional[float] = ..., embedding_space: _Optional[str] = ..., rating_count: _Optional[int] = ...) -> None: ...

class EmbedNewItemRequest(_message.Message):
    __slots__ = ("model", "item", "ratings", "skip_unknown_users", "events")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    SKIP_UNKNOWN_USERS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    item: _model_pb2.Item
    ratings: _containers.RepeatedCompositeFieldContainer[ItemRating]
    skip_unknown_users: bool
    events: _containers.RepeatedCompositeFieldContainer[ItemEvent]
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., item: _Optional[_Union[_model_pb2.Item, _Mapping]] = ..., ratings: _Optional[_Iterable[_Union[ItemRating, _Mapping]]] = ..., skip_unknown_users: bool = ..., events: _Optional[_Iterable[_Union[ItemEvent, _Mapping]]] = ...) -> None: ...

class EmbedNewItemResponse(_message.Message):
    __slots__ = ("embedding", "fit_rmse", "used_rating_count", "missing_user_ids", "ignored_attributes", "model", "used_event_count")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    FIT_RMSE_FIELD_NUMBER: _ClassVar[int]
    USED_RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSING_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    IGNORED_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USED_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    embedding: ItemEmbedding
    fit_rmse: float
    used_rating_count: int
    missing_user_ids: _containers.RepeatedScalarFieldContainer[str]
    ignored_attributes: _containers.RepeatedScalarFieldContainer[str]
    model: _model_pb2.ServedModel
    used_event_count: int
    def __init__(self, embedding: _Optional[_Union[ItemEmbedding, _Mapping]] = ..., fit_rmse: _Optional[float] = ..., used_rating_count: _Optional[int] = ..., missing_user_ids: _Optional[_Iterable[str]] = ..., ignored_attributes: _Optional[_Iterable[str]] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ..., used_event_count: _Optional[int] = ...) -> None: ...

class BatchRecommendRequest(_message.Message):
    __slots__ = ("model", "requests")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    requests: _containers.RepeatedCompositeFieldContainer[RecommendRequest]
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., requests: _Optional[_Iterable[_Union[RecommendRequest, _Mapping]]] = ...) -> None: ...

class BatchRecommendResponse(_message.Message):
    __slots__ = ("entries", "model")
    class Entry(_message.Message):
        __slots__ = ("response", "error")
        RESPONSE_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        response: RecommendResponse
        error: EntryError
        def __init__(self, response: _Optional[_Union[RecommendResponse, _Mapping]] = ..., error: _Optional[_Union[EntryError, _Mapping]] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[BatchRecommendResponse.Entry]
    model: _model_pb2.ServedModel
    def __init__(self, entries: _Optional[_Iterable[_Union[BatchRecommendResponse.Entry, _Mapping]]] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ...) -> None: ...

class StreamRecommendRequest(_message.Message):
    __slots__ = ("request_id", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: RecommendRequest
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[RecommendRequest, _Mapping]] = ...) -> None: ...

class StreamRecommendResponse(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: RecommendResponse
    error: EntryError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[RecommendResponse, _Mapping]] = ..., error: _Optional[_Union[EntryError, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model", "user", "item_id", "max_contributions", "ranking", "popularity_penalty")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    user: User
    item_id: str
    max_contributions: int
    ranking: RecommendRequest.Ranking
    popularity_penalty: float
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., user: _Optional[_Union[User, _Mapping]] = ..., item_id: _Optional[str] = ..., max_contributions: _Optional[int] = ..., ranking: _Optional[_Union[RecommendRequest.Ranking, str]] = ..., popularity_penalty: _Optional[float] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("score", "global_bias", "user_bias", "item_bias", "interaction", "contributions", "remainder", "predicted_rating", "model", "ranking_score", "popularity", "average_interaction", "other_contributions", "other_rating_count", "unexplained", "ranking")
    class Contribution(_message.Message):
        __slots__ = ("item_id", "rating", "contribution")
        ITEM_ID_FIELD_NUMBER: _ClassVar[int]
        RATING_FIELD_NUMBER: _ClassVar[int]
        CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
        item_id: str
        rating: float
        contribution: float
        def __init__(self, item_id: _Optional[str] = ..., rating: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...
    class Reason(_message.Message):
        __slots__ = ("item_id", "rating", "contribution", "own_contribution", "similar_rating_count", "event_weight")
        ITEM_ID_FIELD_NUMBER: _ClassVar[int]
        RATING_FIELD_NUMBER: _ClassVar[int]
        CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
        OWN_CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
        SIMILAR_RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
        EVENT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        item_id: str
        rating: float
        contribution: float
        own_contribution: float
        similar_rating_count: int
        event_weight: float
        def __init__(self, item_id: _Optional[str] = ..., rating: _Optional[float] = ..., contribution: _Optional[float] = ..., own_contribution: _Optional[float] = ..., similar_rating_count: _Optional[int] = ..., event_weight: _Optional[float] = ...) -> None: ...
    class RankingScore(_message.Message):
        __slots__ = ("rating_weight", "ranking_weight", "ranking_logit", "item_part", "user_part", "reasons", "other_part", "other_rating_count", "unexplained")
        RATING_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        RANKING_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        RANKING_LOGIT_FIELD_NUMBER: _ClassVar[int]
        ITEM_PART_FIELD_NUMBER: _ClassVar[int]
        USER_PART_FIELD_NUMBER: _ClassVar[int]
        REASONS_FIELD_NUMBER: _ClassVar[int]
        OTHER_PART_FIELD_NUMBER: _ClassVar[int]
        OTHER_RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
        UNEXPLAINED_FIELD_NUMBER: _ClassVar[int]
        rating_weight: float
        ranking_weight: float
        ranking_logit: float
        item_part: float
        user_part: float
        reasons: _containers.RepeatedCompositeFieldContainer[ExplainResponse.Reason]
        other_part: float
        other_rating_count: int
        unexplained: float
        def __init__(self, rating_weight: _Optional[float] = ..., ranking_weight: _Optional[float] = ..., ranking_logit: _Optional[float] = ..., item_part: _Optional[float] = ..., user_part: _Optional[float] = ..., reasons: _Optional[_Iterable[_Union[ExplainResponse.Reason, _Mapping]]] = ..., other_part: _Optional[float] = ..., other_rating_count: _Optional[int] = ..., unexplained: _Optional[float] = ...) -> None: ...
    SCORE_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_BIAS_FIELD_NUMBER: _ClassVar[int]
    USER_BIAS_FIELD_NUMBER: _ClassVar[int]
    ITEM_BIAS_FIELD_NUMBER: _ClassVar[int]
    INTERACTION_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    REMAINDER_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_RATING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RANKING_SCORE_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_INTERACTION_FIELD_NUMBER: _ClassVar[int]
    OTHER_CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    OTHER_RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNEXPLAINED_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    score: float
    global_bias: float
    user_bias: float
    item_bias: float
    interaction: float
    contributions: _containers.RepeatedCompositeFieldContainer[ExplainResponse.Contribution]
    remainder: float
    predicted_rating: float
    model: _model_pb2.ServedModel
    ranking_score: float
    popularity: float
    average_interaction: float
    other_contributions: float
    other_rating_count: int
    unexplained: float
    ranking: ExplainResponse.RankingScore
    def __init__(self, score: _Optional[float] = ..., global_bias: _Optional[float] = ..., user_bias: _Optional[float] = ..., item_bias: _Optional[float] = ..., interaction: _Optional[float] = ..., contributions: _Optional[_Iterable[_Union[ExplainResponse.Contribution, _Mapping]]] = ..., remainder: _Optional[float] = ..., predicted_rating: _Optional[float] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ..., ranking_score: _Optional[float] = ..., popularity: _Optional[float] = ..., average_interaction: _Optional[float] = ..., other_contributions: _Optional[float] = ..., other_rating_count: _Optional[int] = ..., unexplained: _Optional[float] = ..., ranking: _Optional[_Union[ExplainResponse.RankingScore, _Mapping]] = ...) -> None: ...
