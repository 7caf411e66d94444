from cofactor.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "limits")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.Model
    limits: _model_pb2.ServingLimits
    def __init__(self, model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ..., limits: _Optional[_Union[_model_pb2.ServingLimits, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[_model_pb2.Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SearchItemsRequest(_message.Message):
    __slots__ = ("model", "query", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    query: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., query: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class SearchItemsResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "model")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_model_pb2.Item]
    next_page_token: str
    model: _model_pb2.ServedModel
    def __init__(self, items: _Optional[_Iterable[_Union[_model_pb2.Item, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ...) -> None: ...

class ListTopItemsRequest(_message.Message):
    __slots__ = ("model", "order", "page_size", "page_token")
    class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ORDER_UNSPECIFIED: _ClassVar[ListTopItemsRequest.Order]
        ORDER_HIGHEST_BIAS: _ClassVar[ListTopItemsRequest.Order]
        ORDER_LOWEST_BIAS: _ClassVar[ListTopItemsRequest.Order]
        ORDER_MOST_RATED: _ClassVar[ListTopItemsRequest.Order]
        ORDER_MOST_INFORMATIVE: _ClassVar[ListTopItemsRequest.Order]
    ORDER_UNSPECIFIED: ListTopItemsRequest.Order
    ORDER_HIGHEST_BIAS: ListTopItemsRequest.Order
    ORDER_LOWEST_BIAS: ListTopItemsRequest.Order
    ORDER_MOST_RATED: ListTopItemsRequest.Order
    ORDER_MOST_INFORMATIVE: ListTopItemsRequest.Order
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    order: ListTopItemsRequest.Order
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., order: _Optional[_Union[ListTopItemsRequest.Order, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTopItemsResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "model")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_model_pb2.Item]
    next_page_token: str
    model: _model_pb2.ServedModel
    def __init__(self, items: _Optional[_Iterable[_Union[_model_pb2.Item, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ...) -> None: ...

class GetItemMapRequest(_message.Message):
    __slots__ = ("model", "max_items")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    max_items: int
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., max_items: _Optional[int] = ...) -> None: ...

class GetItemMapResponse(_message.Message):
    __slots__ = ("points", "labels", "model")
    class Point(_message.Message):
        __slots__ = ("item_id", "title", "x", "y", "rating_count", "bias", "genres")
        ITEM_ID_FIELD_NUMBER: _ClassVar[int]
        TITLE_FIELD_NUMBER: _ClassVar[int]
        X_FIELD_NUMBER: _ClassVar[int]
        Y_FIELD_NUMBER: _ClassVar[int]
        RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
        BIAS_FIELD_NUMBER: _ClassVar[int]
        GENRES_FIELD_NUMBER: _ClassVar[int]
        item_id: str
        title: str
        x: float
        y: float
        rating_count: int
        bias: float
        genres: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., x: _Optional[float] = ..., y: _Optional[float] = ..., rating_count: _Optional[int] = ..., bias: _Optional[float] = ..., genres: _Optional[_Iterable[str]] = ...) -> None: ...
    class Label(_message.Message):
        __slots__ = ("x", "y", "text")
        X_FIELD_NUMBER: _ClassVar[int]
        Y_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        x: float
        y: float
        text: str
        def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...
    POINTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[GetItemMapResponse.Point]
    labels: _containers.RepeatedCompositeFieldContainer[GetItemMapResponse.Label]
    model: _model_pb2.ServedModel
    def __init__(self, points: _Optional[_Iterable[_Union[GetItemMapResponse.Point, _Mapping]]] = ..., labels: _Optional[_Iterable[_Union[GetItemMapResponse.Label, _Mapping]]] = ..., model: _Optional[_Union[_model_pb2.ServedModel, _Mapping]] = ...) -> None: ...
