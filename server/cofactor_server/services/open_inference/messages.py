"""Define the messages of the Open Inference Protocol (gRPC, version 2) in a descriptor pool of their own.

They are written as a table and not generated. Generated modules register in the default pool of the process, where
tritonclient registers the same names: whichever is imported second fails.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any, Protocol

from google.protobuf import descriptor, descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = "GRPCInferenceService"
# The request and the response of a method are <method>Request and <method>Response.
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelConfig",
)

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
}

# Message -> fields (name, number, type). "map T" is map<string, T>; the "oneof T" of a message are one oneof.
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("name", 1, "string"), ("version", 2, "string"), ("extensions", 3, "repeated string")),
    "ModelMetadataRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelMetadataResponse": (
        ("name", 1, "string"),
        ("versions", 2, "repeated string"),
        ("platform", 3, "string"),
        ("inputs", 4, "repeated ModelMetadataResponse.TensorMetadata"),
        ("outputs", 5, "repeated ModelMetadataResponse.TensorMetadata"),
    ),
    "ModelMetadataResponse.TensorMetadata": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "repeated int64"),
    ),
    "InferParameter": (
        ("bool_param", 1, "oneof bool"),
        ("int64_param", 2, "oneof int64"),
        ("string_param", 3, "oneof string"),
        ("double_param", 4, "oneof double"),
        ("uint64_param", 5, "oneof uint64"),
    ),
    "InferTensorContents": (
        ("bool_contents", 1, "repeated bool"),
        ("int_contents", 2, "repeated int32"),
        ("int64_contents", 3, "repeated int64"),
        ("uint_contents", 4, "repeated uint32"),
        ("uint64_contents", 5, "repeated uint64"),
        ("fp32_contents", 6, "repeated float"),
        ("fp64_contents", 7, "repeated double"),
        ("bytes_contents", 8, "repeated bytes"),
    ),
    "ModelInferRequest": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "map InferParameter"),
        ("inputs", 5, "repeated ModelInferRequest.InferInputTensor"),
        ("outputs", 6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        ("raw_input_contents", 7, "repeated bytes"),
    ),
    "ModelInferRequest.InferInputTensor": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "repeated int64"),
        ("parameters", 4, "map InferParameter"),
        ("contents", 5, "InferTensorContents"),
    ),
    "ModelInferRequest.InferRequestedOutputTensor": (("name", 1, "string"), ("parameters", 2, "map InferParameter")),
    "ModelInferResponse": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "map InferParameter"),
        ("outputs", 5, "repeated ModelInferResponse.InferOutputTensor"),
        ("raw_output_contents", 6, "repeated bytes"),
    ),
    "ModelInferResponse.InferOutputTensor": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "repeated int64"),
        ("parameters", 4, "map InferParameter"),
        ("contents", 5, "InferTensorContents"),
    ),
    # The part of Triton's configuration that describes inputs and outputs, with int32 in place of its enums.
    "ModelConfigRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelConfigResponse": (("config", 1, "ModelConfig"),),
    "ModelConfig": (
        ("name", 1, "string"),
        ("platform", 2, "string"),
        ("max_batch_size", 4, "int32"),
        ("input", 5, "repeated ModelInput"),
        ("output", 6, "repeated ModelOutput"),
        ("backend", 17, "string"),
    ),
    "ModelInput": (("name", 1, "string"), ("data_type", 2, "int32"), ("dims", 4, "repeated int64")),
    "ModelOutput": (("name", 1, "string"), ("data_type", 2, "int32"), ("dims", 3, "repeated int64")),
}


class ModelRequest(Protocol):
    """A request about a model: ModelReadyRequest, ModelMetadataRequest or ModelConfigRequest."""

    name: str
    version: str


class TensorContents(Protocol):
    """InferTensorContents."""

    int64_contents: MutableSequence[int]
    fp32_contents: MutableSequence[float]
    bytes_contents: MutableSequence[bytes]


class RequestedOutput(Protocol):
    """ModelInferRequest.InferRequestedOutputTensor."""

    name: str


class InputTensor(Protocol):
    """ModelInferRequest.InferInputTensor."""

    name: str
    datatype: str
    shape: Sequence[int]
    contents: TensorContents


class InferRequest(Protocol):
    """ModelInferRequest."""

    model_name: str
    model_version: str
    id: str
    inputs: Sequence[InputTensor]
    outputs: Sequence[RequestedOutput]
    raw_input_contents: Sequence[bytes]


class OutputTensors(Protocol):
    """The repeated field ModelInferResponse.outputs."""

    def add(self, *, name: str, datatype: str, shape: Sequence[int]) -> InputTensor:
        """Append a tensor."""


class InferResponse(Protocol):
    """ModelInferResponse."""

    outputs: OutputTensors
    raw_output_contents: MutableSequence[bytes]


def _make_pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="cofactor/open_inference.proto", package=PACKAGE, syntax="proto3")
    described: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name in _MESSAGES:
        outer, _, inner = name.rpartition(".")
        described[name] = (described[outer].nested_type if outer else file.message_type).add(name=inner)
    for name, fields in _MESSAGES.items():
        for field_name, number, kind in fields:
            _add_field(described[name], name, field_name, number, kind)
    service = file.service.add(name=SERVICE)
    for method in METHODS:
        types = {"input_type": f".{PACKAGE}.{method}Request", "output_type": f".{PACKAGE}.{method}Response"}
        service.method.add(name=method, **types)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, owner: str, name: str, number: int, kind: str) -> None:
    manner, _, element = kind.rpartition(" ")
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if manner in ("repeated", "map"):
        field.label = _FIELD.LABEL_REPEATED
    if manner == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    if manner == "map":
        entry_name = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _set_type(entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL), "string")
        _set_type(entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), element)
        element = f"{owner}.{entry_name}"
    _set_type(field, element)


def _set_type(field: descriptor_pb2.FieldDescriptorProto, element: str) -> None:
    if element in _TYPES:
        field.type = _TYPES[element]
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{element}"


def _with_nested(described: descriptor.Descriptor) -> Iterator[descriptor.Descriptor]:
    """Yield a message and all messages inside it, the entries of its maps among them."""
    yield described
    for nested in described.nested_types:
        yield from _with_nested(nested)


POOL = _make_pool()
# Protobuf holds the classes of a pool only weakly, and makes them again when they are needed. If the garbage collector
# deletes a class while another thread makes or uses it, the process ends with a segmentation fault (protobuf issue
# 12047). So this table holds all of them until the process ends.
_CLASSES = {
    described.full_name: message_factory.GetMessageClass(described)
    for name in _MESSAGES
    for described in _with_nested(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
}


def message_type(name: str) -> Any:
    """Return the class of a message, such as "ModelInferRequest"."""
    return _CLASSES[f"{PACKAGE}.{name}"]
