from cofactor.v1 import erasure_pb2 as _erasure_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Manifest(_message.Message):
    __slots__ = ("format_version", "name", "version", "architecture", "objective", "user_count", "item_count", "rating_count", "user_factor_count", "item_factor_count", "rating_min", "rating_max", "global_bias", "rating_range", "embedding_space", "profile_features", "metrics", "train_time", "dataset", "hyperparameters", "producer", "default_popularity_weight", "graphs", "tables", "files", "epochs", "approximate_index", "metrics_protocol", "refitted", "ranking_factor_count", "default_order", "new_user_order", "rating_popularity_slope", "ranking_popularity_slope", "events", "item_attributes", "item_features", "unrated_item_count", "warm_started_from", "warm_start_count", "item_map_labels", "erasures", "calibration")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class HyperparametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    USER_FACTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_FACTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    RATING_MIN_FIELD_NUMBER: _ClassVar[int]
    RATING_MAX_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_BIAS_FIELD_NUMBER: _ClassVar[int]
    RATING_RANGE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SPACE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FEATURES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_TIME_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_POPULARITY_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    GRAPHS_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_INDEX_FIELD_NUMBER: _ClassVar[int]
    METRICS_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    REFITTED_FIELD_NUMBER: _ClassVar[int]
    RANKING_FACTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ORDER_FIELD_NUMBER: _ClassVar[int]
    NEW_USER_ORDER_FIELD_NUMBER: _ClassVar[int]
    RATING_POPULARITY_SLOPE_FIELD_NUMBER: _ClassVar[int]
    RANKING_POPULARITY_SLOPE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    ITEM_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ITEM_FEATURES_FIELD_NUMBER: _ClassVar[int]
    UNRATED_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    WARM_STARTED_FROM_FIELD_NUMBER: _ClassVar[int]
    WARM_START_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_MAP_LABELS_FIELD_NUMBER: _ClassVar[int]
    ERASURES_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    name: str
    version: str
    architecture: str
    objective: str
    user_count: int
    item_count: int
    rating_count: int
    user_factor_count: int
    item_factor_count: int
    rating_min: float
    rating_max: float
    global_bias: float
    rating_range: RatingRange
    embedding_space: str
    profile_features: _containers.RepeatedCompositeFieldContainer[ProfileFeature]
    metrics: _containers.ScalarMap[str, float]
    train_time: _timestamp_pb2.Timestamp
    dataset: str
    hyperparameters: _containers.ScalarMap[str, str]
    producer: str
    default_popularity_weight: float
    graphs: _containers.RepeatedCompositeFieldContainer[Graph]
    tables: _containers.RepeatedCompositeFieldContainer[Table]
    files: _containers.RepeatedCompositeFieldContainer[File]
    epochs: _containers.RepeatedCompositeFieldContainer[Epoch]
    approximate_index: ApproximateIndex
    metrics_protocol: str
    refitted: bool
    ranking_factor_count: int
    default_order: Order
    new_user_order: Order
    rating_popularity_slope: float
    ranking_popularity_slope: float
    events: EventFeedback
    item_attributes: _containers.RepeatedCompositeFieldContainer[ItemAttributeColumn]
    item_features: _containers.RepeatedCompositeFieldContainer[ProfileFeature]
    unrated_item_count: int
    warm_started_from: str
    warm_start_count: int
    item_map_labels: _containers.RepeatedCompositeFieldContainer[MapLabel]
    erasures: _erasure_pb2.AppliedErasures
    calibration: Calibration
    def __init__(self, format_version: _Optional[int] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., architecture: _Optional[str] = ..., objective: _Optional[str] = ..., user_count: _Optional[int] = ..., item_count: _Optional[int] = ..., rating_count: _Optional[int] = ..., user_factor_count: _Optional[int] = ..., item_factor_count: _Optional[int] = ..., rating_min: _Optional[float] = ..., rating_max: _Optional[float] = ..., global_bias: _Optional[float] = ..., rating_range: _Optional[_Union[RatingRange, _Mapping]] = ..., embedding_space: _Optional[str] = ..., profile_features: _Optional[_Iterable[_Union[ProfileFeature, _Mapping]]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., train_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., dataset: _Optional[str] = ..., hyperparameters: _Optional[_Mapping[str, str]] = ..., producer: _Optional[str] = ..., default_popularity_weight: _Optional[float] = ..., graphs: _Optional[_Iterable[_Union[Graph, _Mapping]]] = ..., tables: _Optional[_Iterable[_Union[Table, _Mapping]]] = ..., files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., epochs: _Optional[_Iterable[_Union[Epoch, _Mapping]]] = ..., approximate_index: _Optional[_Union[ApproximateIndex, _Mapping]] = ..., metrics_protocol: _Optional[str] = ..., refitted: bool = ..., ranking_factor_count: _Optional[int] = ..., default_order: _Optional[_Union[Order, _Mapping]] = ..., new_user_order: _Optional[_Union[Order, _Mapping]] = ..., rating_popularity_slope: _Optional[float] = ..., ranking_popularity_slope: _Optional[float] = ..., events: _Optional[_Union[EventFeedback, _Mapping]] = ..., item_attributes: _Optional[_Iterable[_Union[ItemAttributeColumn, _Mapping]]] = ..., item_features: _Optional[_Iterable[_Union[ProfileFeature, _Mapping]]] = ..., unrated_item_count: _Optional[int] = ..., warm_started_from: _Optional[str] = ..., warm_start_count: _Optional[int] = ..., item_map_labels: _Optional[_Iterable[_Union[MapLabel, _Mapping]]] = ..., erasures: _Optional[_Union[_erasure_pb2.AppliedErasures, _Mapping]] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("known_users", "new_users", "meaning")
    class Curve(_message.Message):
        __slots__ = ("intercept", "share_weight", "activity_weight")
        INTERCEPT_FIELD_NUMBER: _ClassVar[int]
        SHARE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        ACTIVITY_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        intercept: float
        share_weight: float
        activity_weight: float
        def __init__(self, intercept: _Optional[float] = ..., share_weight: _Optional[float] = ..., activity_weight: _Optional[float] = ...) -> None: ...
    KNOWN_USERS_FIELD_NUMBER: _ClassVar[int]
    NEW_USERS_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    known_users: Calibration.Curve
    new_users: Calibration.Curve
    meaning: str
    def __init__(self, known_users: _Optional[_Union[Calibration.Curve, _Mapping]] = ..., new_users: _Optional[_Union[Calibration.Curve, _Mapping]] = ..., meaning: _Optional[str] = ...) -> None: ...

class ItemAttributeColumn(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class EventFeedback(_message.Message):
    __slots__ = ("types", "half_life_seconds", "weight_cap", "log_weights", "newest_event_time", "fold_in_scale", "rating_weight", "recency_boost", "recency_decay")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_CAP_FIELD_NUMBER: _ClassVar[int]
    LOG_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    FOLD_IN_SCALE_FIELD_NUMBER: _ClassVar[int]
    RATING_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RECENCY_BOOST_FIELD_NUMBER: _ClassVar[int]
    RECENCY_DECAY_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedCompositeFieldContainer[EventType]
    half_life_seconds: float
    weight_cap: float
    log_weights: bool
    newest_event_time: _timestamp_pb2.Timestamp
    fold_in_scale: float
    rating_weight: float
    recency_boost: float
    recency_decay: float
    def __init__(self, types: _Optional[_Iterable[_Union[EventType, _Mapping]]] = ..., half_life_seconds: _Optional[float] = ..., weight_cap: _Optional[float] = ..., log_weights: bool = ..., newest_event_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., fold_in_scale: _Optional[float] = ..., rating_weight: _Optional[float] = ..., recency_boost: _Optional[float] = ..., recency_decay: _Optional[float] = ...) -> None: ...

class MapLabel(_message.Message):
    __slots__ = ("x", "y", "text")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    text: str
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

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

class Order(_message.Message):
    __slots__ = ("rating_weight", "ranking_weight", "popularity_weight")
    RATING_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RANKING_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    rating_weight: float
    ranking_weight: float
    popularity_weight: float
    def __init__(self, rating_weight: _Optional[float] = ..., ranking_weight: _Optional[float] = ..., popularity_weight: _Optional[float] = ...) -> None: ...

class ApproximateIndex(_message.Message):
    __slots__ = ("path", "probe_count", "candidate_count", "largest_k", "popularity_weights", "orders")
    PATH_FIELD_NUMBER: _ClassVar[int]
    PROBE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    LARGEST_K_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    path: str
    probe_count: int
    candidate_count: int
    largest_k: int
    popularity_weights: _containers.RepeatedScalarFieldContainer[float]
    orders: _containers.RepeatedCompositeFieldContainer[Order]
    def __init__(self, path: _Optional[str] = ..., probe_count: _Optional[int] = ..., candidate_count: _Optional[int] = ..., largest_k: _Optional[int] = ..., popularity_weights: _Optional[_Iterable[float]] = ..., orders: _Optional[_Iterable[_Union[Order, _Mapping]]] = ...) -> None: ...

class Epoch(_message.Message):
    __slots__ = ("number", "train_loss", "validation_loss", "seconds")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    number: int
    train_loss: float
    validation_loss: float
    seconds: float
    def __init__(self, number: _Optional[int] = ..., train_loss: _Optional[float] = ..., validation_loss: _Optional[float] = ..., seconds: _Optional[float] = ...) -> None: ...

class RatingRange(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class ProfileFeature(_message.Message):
    __slots__ = ("key", "categorical", "numeric")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CATEGORICAL_FIELD_NUMBER: _ClassVar[int]
    NUMERIC_FIELD_NUMBER: _ClassVar[int]
    key: str
    categorical: CategoricalFeature
    numeric: NumericFeature
    def __init__(self, key: _Optional[str] = ..., categorical: _Optional[_Union[CategoricalFeature, _Mapping]] = ..., numeric: _Optional[_Union[NumericFeature, _Mapping]] = ...) -> None: ...

class CategoricalFeature(_message.Message):
    __slots__ = ("categories",)
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    categories: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, categories: _Optional[_Iterable[str]] = ...) -> None: ...

class NumericFeature(_message.Message):
    __slots__ = ("mean", "scale", "lowest", "highest")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    mean: float
    scale: float
    lowest: float
    highest: float
    def __init__(self, mean: _Optional[float] = ..., scale: _Optional[float] = ..., lowest: _Optional[float] = ..., highest: _Optional[float] = ...) -> None: ...

class Graph(_message.Message):
    __slots__ = ("name", "path", "prepacked", "tables")
    class TablesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    PREPACKED_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    prepacked: bool
    tables: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ..., prepacked: bool = ..., tables: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("name", "dtype", "shape", "offset")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    offset: int
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., offset: _Optional[int] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "size", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    sha256: str
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...
