"""Read the comments of the .proto files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
# Numbers of the fields of descriptor.proto that make up the path of a comment.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM = 2, 3, 4
_ENUM_VALUE, _SERVICE_METHOD = 2, 2

CommentPath = tuple[int, ...]


def proto_comments() -> dict[str, str]:
    """Return full name -> comment of every message, field, enum, value, service and method of the API."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("cofactor/**/*.proto"))
    includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set.binpb"
        arguments = ["protoc", *includes, "--include_source_info", f"--descriptor_set_out={output}", *sources]
        if protoc.main(arguments) != 0:
            raise SystemExit("error: protoc failed")
        descriptors = FileDescriptorSet.FromString(output.read_bytes())
    comments: dict[str, str] = {}
    for file in descriptors.file:
        text = {
            tuple(place.path): " ".join(line.strip() for line in place.leading_comments.splitlines()).strip()
            for place in file.source_code_info.location
            if place.leading_comments
        }
        comments |= {name: text[path] for name, path in _named_paths(file) if path in text}
    return comments


def _named_paths(file: FileDescriptorProto) -> Iterator[tuple[str, CommentPath]]:
    package = file.package
    for number, message in enumerate(file.message_type):
        yield from _message_paths(message, f"{package}.{message.name}", (_FILE_MESSAGE, number))
    for number, enum in enumerate(file.enum_type):
        yield f"{package}.{enum.name}", (_FILE_ENUM, number)
    for number, service in enumerate(file.service):
        yield f"{package}.{service.name}", (_FILE_SERVICE, number)
        for index, method in enumerate(service.method):
            yield f"{package}.{service.name}.{method.name}", (_FILE_SERVICE, number, _SERVICE_METHOD, index)


def _message_paths(message: DescriptorProto, name: str, path: CommentPath) -> Iterator[tuple[str, CommentPath]]:
    yield name, path
    for number, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, _MESSAGE_FIELD, number)
    for number, nested in enumerate(message.nested_type):
        yield from _message_paths(nested, f"{name}.{nested.name}", (*path, _MESSAGE_NESTED, number))
    for number, enum in enumerate(message.enum_type):
        enum_path = (*path, _MESSAGE_ENUM, number)
        yield f"{name}.{enum.name}", enum_path
        for index, value in enumerate(enum.value):
            yield f"{name}.{enum.name}.{value.name}", (*enum_path, _ENUM_VALUE, index)
