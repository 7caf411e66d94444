from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelRef(_message.Message):
    __slots__ = ("name", "version", "label")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    label: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class ServedModel(_message.Message):
    __slots__ = ("name", "version", "execution_provider", "overlay_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    execution_provider: str
    overlay_sequence: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., execution_provider: _Optional[str] = ..., overlay_sequence: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "labels", "state", "state_message", "architecture", "objective", "user_count", "item_count", "factor_count", "rating_min", "rating_max", "execution_providers", "embedding_space", "profile_keys", "metrics", "train_time", "load_time", "supports_new_users", "dataset", "metrics_protocol", "has_ranking_part", "events", "placements", "device_memory_bytes", "device_table_bytes", "attributes", "supports_new_items", "overlay_sequence", "supports_probabilities", "probability_meaning", "profile_questions")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Model.State]
        STATE_LOADING: _ClassVar[Model.State]
        STATE_READY: _ClassVar[Model.State]
        STATE_UNLOADING: _ClassVar[Model.State]
        STATE_FAILED: _ClassVar[Model.State]
    STATE_UNSPECIFIED: Model.State
    STATE_LOADING: Model.State
    STATE_READY: Model.State
    STATE_UNLOADING: Model.State
    STATE_FAILED: Model.State
    class EventType(_message.Message):
        __slots__ = ("name", "weight", "negative", "event_count")
        NAME_FIELD_NUMBER: _ClassVar[int]
        WEIGHT_FIELD_NUMBER: _ClassVar[int]
        NEGATIVE_FIELD_NUMBER: _ClassVar[int]
        EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
        name: str
        weight: float
        negative: bool
        event_count: int
        def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ..., negative: bool = ..., event_count: _Optional[int] = ...) -> None: ...
    class Events(_message.Message):
        __slots__ = ("types", "half_life_seconds", "weight_cap", "log_weights", "newest_event_time", "rating_weight", "recency_boost", "recency_decay")
        TYPES_FIELD_NUMBER: _ClassVar[int]
        HALF_LIFE_SECONDS_FIELD_NUMBER: _ClassVar[int]
        WEIGHT_CAP_FIELD_NUMBER: _ClassVar[int]
        LOG_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
        NEWEST_EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
        RATING_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        RECENCY_BOOST_FIELD_NUMBER: _ClassVar[int]
        RECENCY_DECAY_FIELD_NUMBER: _ClassVar[int]
        types: _containers.RepeatedCompositeFieldContainer[Model.EventType]
        half_life_seconds: float
        weight_cap: float
        log_weights: bool
        newest_event_time: _timestamp_pb2.Timestamp
        rating_weight: float
        recency_boost: float
        recency_decay: float
        def __init__(self, types: _Optional[_Iterable[_Union[Model.EventType, _Mapping]]] = ..., half_life_seconds: _Optional[float] = ..., weight_cap: _Optional[float] = ..., log_weights: bool = ..., newest_event_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., rating_weight: _Optional[float] = ..., recency_boost: _Optional[float] = ..., recency_decay: _Optional[float] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    FACTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    RATING_MIN_FIELD_NUMBER: _ClassVar[int]
    RATING_MAX_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SPACE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_KEYS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_TIME_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_NEW_USERS_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    METRICS_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HAS_RANKING_PART_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_NEW_ITEMS_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_MEANING_FIELD_NUMBER: _ClassVar[int]
    PROFILE_QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    state: Model.State
    state_message: str
    architecture: str
    objective: str
    user_count: int
    item_count: int
    factor_count: int
    rating_min: float
    rating_max: float
    execution_providers: _containers.RepeatedScalarFieldContainer[str]
    embedding_space: str
    profile_keys: _containers.RepeatedScalarFieldContainer[str]
    metrics: _containers.ScalarMap[str, float]
    train_time: _timestamp_pb2.Timestamp
    load_time: _timestamp_pb2.Timestamp
    supports_new_users: bool
    dataset: str
    metrics_protocol: str
    has_ranking_part: bool
    events: Model.Events
    placements: _containers.RepeatedCompositeFieldContainer[GraphPlacement]
    device_memory_bytes: int
    device_table_bytes: int
    attributes: _containers.RepeatedCompositeFieldContainer[ItemAttribute]
    supports_new_items: bool
    overlay_sequence: int
    supports_probabilities: bool
    probability_meaning: str
    profile_questions: _containers.RepeatedCompositeFieldContainer[ProfileQuestion]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[Model.State, str]] = ..., state_message: _Optional[str] = ..., architecture: _Optional[str] = ..., objective: _Optional[str] = ..., user_count: _Optional[int] = ..., item_count: _Optional[int] = ..., factor_count: _Optional[int] = ..., rating_min: _Optional[float] = ..., rating_max: _Optional[float] = ..., execution_providers: _Optional[_Iterable[str]] = ..., embedding_space: _Optional[str] = ..., profile_keys: _Optional[_Iterable[str]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., train_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., load_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., supports_new_users: bool = ..., dataset: _Optional[str] = ..., metrics_protocol: _Optional[str] = ..., has_ranking_part: bool = ..., events: _Optional[_Union[Model.Events, _Mapping]] = ..., placements: _Optional[_Iterable[_Union[GraphPlacement, _Mapping]]] = ..., device_memory_bytes: _Optional[int] = ..., device_table_bytes: _Optional[int] = ..., attributes: _Optional[_Iterable[_Union[ItemAttribute, _Mapping]]] = ..., supports_new_items: bool = ..., overlay_sequence: _Optional[int] = ..., supports_probabilities: bool = ..., probability_meaning: _Optional[str] = ..., profile_questions: _Optional[_Iterable[_Union[ProfileQuestion, _Mapping]]] = ...) -> None: ...

class ProfileQuestion(_message.Message):
    __slots__ = ("key", "choice", "number")
    class Choice(_message.Message):
        __slots__ = ("answers",)
        ANSWERS_FIELD_NUMBER: _ClassVar[int]
        answers: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, answers: _Optional[_Iterable[str]] = ...) -> None: ...
    class Number(_message.Message):
        __slots__ = ("mean", "lowest", "highest")
        MEAN_FIELD_NUMBER: _ClassVar[int]
        LOWEST_FIELD_NUMBER: _ClassVar[int]
        HIGHEST_FIELD_NUMBER: _ClassVar[int]
        mean: float
        lowest: float
        highest: float
        def __init__(self, mean: _Optional[float] = ..., lowest: _Optional[float] = ..., highest: _Optional[float] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    key: str
    choice: ProfileQuestion.Choice
    number: ProfileQuestion.Number
    def __init__(self, key: _Optional[str] = ..., choice: _Optional[_Union[ProfileQuestion.Choice, _Mapping]] = ..., number: _Optional[_Union[ProfileQuestion.Number, _Mapping]] = ...) -> None: ...

class ItemAttribute(_message.Message):
    __slots__ = ("name", "type", "built_in", "item_count", "distinct_count", "lowest", "highest", "examples")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[ItemAttribute.Type]
        TYPE_TEXT: _ClassVar[ItemAttribute.Type]
        TYPE_NUMBER: _ClassVar[ItemAttribute.Type]
        TYPE_BOOLEAN: _ClassVar[ItemAttribute.Type]
        TYPE_TIME: _ClassVar[ItemAttribute.Type]
        TYPE_TEXTS: _ClassVar[ItemAttribute.Type]
    TYPE_UNSPECIFIED: ItemAttribute.Type
    TYPE_TEXT: ItemAttribute.Type
    TYPE_NUMBER: ItemAttribute.Type
    TYPE_BOOLEAN: ItemAttribute.Type
    TYPE_TIME: ItemAttribute.Type
    TYPE_TEXTS: ItemAttribute.Type
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BUILT_IN_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: ItemAttribute.Type
    built_in: bool
    item_count: int
    distinct_count: int
    lowest: AttributeValue
    highest: AttributeValue
    examples: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[ItemAttribute.Type, str]] = ..., built_in: bool = ..., item_count: _Optional[int] = ..., distinct_count: _Optional[int] = ..., lowest: _Optional[_Union[AttributeValue, _Mapping]] = ..., highest: _Optional[_Union[AttributeValue, _Mapping]] = ..., examples: _Optional[_Iterable[str]] = ...) -> None: ...

class GraphPlacement(_message.Message):
    __slots__ = ("graph", "trials", "reason")
    class Trial(_message.Message):
        __slots__ = ("size", "execution_provider", "cpu_ms", "device_ms")
        SIZE_FIELD_NUMBER: _ClassVar[int]
        EXECUTION_PROVIDER_FIELD_NUMBER: _ClassVar[int]
        CPU_MS_FIELD_NUMBER: _ClassVar[int]
        DEVICE_MS_FIELD_NUMBER: _ClassVar[int]
        size: int
        execution_provider: str
        cpu_ms: float
        device_ms: float
        def __init__(self, size: _Optional[int] = ..., execution_provider: _Optional[str] = ..., cpu_ms: _Optional[float] = ..., device_ms: _Optional[float] = ...) -> None: ...
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    graph: str
    trials: _containers.RepeatedCompositeFieldContainer[GraphPlacement.Trial]
    reason: str
    def __init__(self, graph: _Optional[str] = ..., trials: _Optional[_Iterable[_Union[GraphPlacement.Trial, _Mapping]]] = ..., reason: _Optional[str] = ...) -> None: ...

class ServingLimits(_message.Message):
    __slots__ = ("max_page_size", "max_items_per_request", "max_requests_per_batch", "max_queue_size", "max_response_bytes", "max_request_bytes")
    MAX_PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_PER_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_page_size: int
    max_items_per_request: int
    max_requests_per_batch: int
    max_queue_size: int
    max_response_bytes: int
    max_request_bytes: int
    def __init__(self, max_page_size: _Optional[int] = ..., max_items_per_request: _Optional[int] = ..., max_requests_per_batch: _Optional[int] = ..., max_queue_size: _Optional[int] = ..., max_response_bytes: _Optional[int] = ..., max_request_bytes: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("item_id", "title", "genres", "release_year", "rating_count", "bias", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[AttributeValue, _Mapping]] = ...) -> None: ...
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    GENRES_FIELD_NUMBER: _ClassVar[int]
    RELEASE_YEAR_FIELD_NUMBER: _ClassVar[int]
    RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    genres: _containers.RepeatedScalarFieldContainer[str]
    release_year: int
    rating_count: int
    bias: float
    attributes: _containers.MessageMap[str, AttributeValue]
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., genres: _Optional[_Iterable[str]] = ..., release_year: _Optional[int] = ..., rating_count: _Optional[int] = ..., bias: _Optional[float] = ..., attributes: _Optional[_Mapping[str, AttributeValue]] = ...) -> None: ...

class AttributeValue(_message.Message):
    __slots__ = ("text", "number", "boolean", "time", "texts")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    number: float
    boolean: bool
    time: _timestamp_pb2.Timestamp
    texts: TextList
    def __init__(self, text: _Optional[str] = ..., number: _Optional[float] = ..., boolean: bool = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., texts: _Optional[_Union[TextList, _Mapping]] = ...) -> None: ...

class TextList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...
