from cofactor.v1 import model_pb2 as _model_pb2
from cofactor.v1 import recommender_pb2 as _recommender_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Overlay(_message.Message):
    __slots__ = ("name", "version", "embedding_space", "sequence", "create_time", "added_items", "removed_item_ids")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SPACE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ADDED_ITEMS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    embedding_space: str
    sequence: int
    create_time: _timestamp_pb2.Timestamp
    added_items: _containers.RepeatedCompositeFieldContainer[AddedItem]
    removed_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., embedding_space: _Optional[str] = ..., sequence: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., added_items: _Optional[_Iterable[_Union[AddedItem, _Mapping]]] = ..., removed_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class AddedItem(_message.Message):
    __slots__ = ("item", "embedding")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    item: _model_pb2.Item
    embedding: _recommender_pb2.ItemEmbedding
    def __init__(self, item: _Optional[_Union[_model_pb2.Item, _Mapping]] = ..., embedding: _Optional[_Union[_recommender_pb2.ItemEmbedding, _Mapping]] = ...) -> None: ...

class OverlayFile(_message.Message):
    __slots__ = ("overlay", "sha256")
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    overlay: bytes
    sha256: bytes
    def __init__(self, overlay: _Optional[bytes] = ..., sha256: _Optional[bytes] = ...) -> None: ...
