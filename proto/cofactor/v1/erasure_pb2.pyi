from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErasureRecord(_message.Message):
    __slots__ = ("record_id", "erase_time", "model_name", "user_hash", "key_id", "requested_by", "request_id")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    ERASE_TIME_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    USER_HASH_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    erase_time: _timestamp_pb2.Timestamp
    model_name: str
    user_hash: str
    key_id: str
    requested_by: str
    request_id: str
    def __init__(self, record_id: _Optional[str] = ..., erase_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., model_name: _Optional[str] = ..., user_hash: _Optional[str] = ..., key_id: _Optional[str] = ..., requested_by: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class AppliedErasures(_message.Message):
    __slots__ = ("record_count", "records_sha256", "newest_erase_time", "left_out_row_count")
    RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_SHA256_FIELD_NUMBER: _ClassVar[int]
    NEWEST_ERASE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    record_count: int
    records_sha256: str
    newest_erase_time: _timestamp_pb2.Timestamp
    left_out_row_count: int
    def __init__(self, record_count: _Optional[int] = ..., records_sha256: _Optional[str] = ..., newest_erase_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., left_out_row_count: _Optional[int] = ...) -> None: ...
