from cofactor.v1 import erasure_pb2 as _erasure_pb2
from cofactor.v1 import overlay_pb2 as _overlay_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServingPolicy(_message.Message):
    __slots__ = ("latest", "pinned", "labels", "previous_labels", "canary_percent", "shadow_percent")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PreviousLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class CanaryPercentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ShadowPercentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LATEST_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_LABELS_FIELD_NUMBER: _ClassVar[int]
    CANARY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PERCENT_FIELD_NUMBER: _ClassVar[int]
    latest: int
    pinned: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    previous_labels: _containers.ScalarMap[str, str]
    canary_percent: _containers.ScalarMap[str, float]
    shadow_percent: _containers.ScalarMap[str, float]
    def __init__(self, latest: _Optional[int] = ..., pinned: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., previous_labels: _Optional[_Mapping[str, str]] = ..., canary_percent: _Optional[_Mapping[str, float]] = ..., shadow_percent: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("version", "state", "state_message", "labels", "is_current", "load_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Version.State]
        STATE_AVAILABLE: _ClassVar[Version.State]
        STATE_READY: _ClassVar[Version.State]
        STATE_REFUSED: _ClassVar[Version.State]
    STATE_UNSPECIFIED: Version.State
    STATE_AVAILABLE: Version.State
    STATE_READY: Version.State
    STATE_REFUSED: Version.State
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    IS_CURRENT_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_FIELD_NUMBER: _ClassVar[int]
    version: str
    state: Version.State
    state_message: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    is_current: bool
    load_time: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[str] = ..., state: _Optional[_Union[Version.State, str]] = ..., state_message: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., is_current: bool = ..., load_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ModelVersions(_message.Message):
    __slots__ = ("name", "versions", "policy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    policy: ServingPolicy
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ..., policy: _Optional[_Union[ServingPolicy, _Mapping]] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelVersions]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelVersions, _Mapping]]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelVersions]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelVersions, _Mapping]]] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("name", "version", "label")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    label: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class PromoteResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: ServingPolicy
    def __init__(self, policy: _Optional[_Union[ServingPolicy, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("name", "label")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    label: str
    def __init__(self, name: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: ServingPolicy
    def __init__(self, policy: _Optional[_Union[ServingPolicy, _Mapping]] = ...) -> None: ...

class UpdateOverlayRequest(_message.Message):
    __slots__ = ("name", "version", "added_items", "removed_item_ids", "restored_item_ids", "reset")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDED_ITEMS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    RESTORED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    added_items: _containers.RepeatedCompositeFieldContainer[_overlay_pb2.AddedItem]
    removed_item_ids: _containers.RepeatedScalarFieldContainer[str]
    restored_item_ids: _containers.RepeatedScalarFieldContainer[str]
    reset: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., added_items: _Optional[_Iterable[_Union[_overlay_pb2.AddedItem, _Mapping]]] = ..., removed_item_ids: _Optional[_Iterable[str]] = ..., restored_item_ids: _Optional[_Iterable[str]] = ..., reset: bool = ...) -> None: ...

class EraseUserRequest(_message.Message):
    __slots__ = ("user_id", "name")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    name: str
    def __init__(self, user_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class UpdateOverlayResponse(_message.Message):
    __slots__ = ("version", "sequence", "added_count", "removed_count")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ADDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REMOVED_COUNT_FIELD_NUMBER: _ClassVar[int]
    version: str
    sequence: int
    added_count: int
    removed_count: int
    def __init__(self, version: _Optional[str] = ..., sequence: _Optional[int] = ..., added_count: _Optional[int] = ..., removed_count: _Optional[int] = ...) -> None: ...

class EraseUserResponse(_message.Message):
    __slots__ = ("erasure",)
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    erasure: Erasure
    def __init__(self, erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class Erasure(_message.Message):
    __slots__ = ("record", "versions_with_traces")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_WITH_TRACES_FIELD_NUMBER: _ClassVar[int]
    record: _erasure_pb2.ErasureRecord
    versions_with_traces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, record: _Optional[_Union[_erasure_pb2.ErasureRecord, _Mapping]] = ..., versions_with_traces: _Optional[_Iterable[str]] = ...) -> None: ...

class ListErasuresRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListErasuresResponse(_message.Message):
    __slots__ = ("erasures", "next_page_token")
    ERASURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    erasures: _containers.RepeatedCompositeFieldContainer[Erasure]
    next_page_token: str
    def __init__(self, erasures: _Optional[_Iterable[_Union[Erasure, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
