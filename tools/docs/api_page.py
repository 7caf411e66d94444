"""Print the reference of the API, made from the .proto files and their comments.

`python -m tools.docs.api_page cofactor.v1` prints the page of that package.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

# Page of each package on the site.
API_PAGES = {"cofactor.v1": "api.md", "cofactor.admin.v1": "api-admin.md"}
PROTO = Path(__file__).resolve().parents[2] / "proto"
Field = descriptor_pb2.FieldDescriptorProto
# Numbers of fields in the messages of descriptor.proto, which the paths of comments consist of.
_MESSAGE, _ENUM, _SERVICE, _NESTED, _NESTED_ENUM, _FIELD, _VALUE, _METHOD = 4, 5, 6, 3, 4, 2, 2, 2
_SCALARS = {number: name.removeprefix("TYPE_").lower() for name, number in Field.Type.items()}


def read_files(package: str) -> list[descriptor_pb2.FileDescriptorProto]:
    """Parse the .proto files of a package, such as "cofactor.v1", with their comments."""
    folder = PROTO / package.replace(".", "/")
    names = sorted(str(path.relative_to(PROTO)) for path in folder.glob("*.proto"))
    if not names:
        raise FileNotFoundError(f"{folder} has no .proto file; the packages are cofactor.v1 and cofactor.admin.v1")
    with tempfile.NamedTemporaryFile(suffix=".binpb") as output:
        arguments = ["protoc", f"-I{PROTO}", "--include_source_info", f"--descriptor_set_out={output.name}", *names]
        if protoc.main([*arguments[:1], f"-I{_well_known()}", *arguments[1:]]) != 0:
            raise ValueError(f"protoc cannot parse {folder}")
        return list(descriptor_pb2.FileDescriptorSet.FromString(Path(output.name).read_bytes()).file)


def _well_known() -> Path:
    """Return the folder of google/protobuf/timestamp.proto, which grpc_tools brings."""
    return Path(protoc.__file__).parent / "_proto"


def documentation(package: str) -> str:
    """Return the reference of a package as Markdown: services first, then messages and enums by file."""
    files = read_files(package)
    lines = [f"# API {package}", ""]
    for file in files:
        comments = _comments(file)
        for number, service in enumerate(file.service):
            lines += _service(service, comments, (_SERVICE, number))
    for file in files:
        comments = _comments(file)
        for number, message in enumerate(file.message_type):
            lines += _message(message, "", comments, (_MESSAGE, number), package)
        for number, enum in enumerate(file.enum_type):
            lines += _enum(enum, "", comments, (_ENUM, number))
    return "\n".join(lines) + "\n"


Comments = dict[tuple[int, ...], str]


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Comments:
    return {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}


def _cell(text: str) -> str:
    """Return a comment as one line of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _service(service: descriptor_pb2.ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]) -> list[str]:
    lines = [f"## {service.name}", "", _cell(comments[path]), ""]
    lines += ["| method | request | response | |", "|---|---|---|---|"]
    for number, method in enumerate(service.method):
        request, response = _type_link(method.input_type), _type_link(method.output_type)
        request = f"stream {request}" if method.client_streaming else request
        response = f"stream {response}" if method.server_streaming else response
        lines.append(f"| {method.name} | {request} | {response} | {_cell(comments[*path, _METHOD, number])} |")
    return [*lines, ""]


def _message(
    message: descriptor_pb2.DescriptorProto, outer: str, comments: Comments, path: tuple[int, ...], package: str
) -> Iterator[str]:
    name = f"{outer}{message.name}"
    yield from (f"## {name}", "", _cell(comments[path]), "")
    if message.field:
        yield from ("| field | number | type | |", "|---|---|---|---|")
        for number, field in enumerate(message.field):
            text = _cell(comments.get((*path, _FIELD, number), ""))
            yield f"| `{field.name}` | {field.number} | {_field_type(field, message)} | {text} |"
        yield ""
    for number, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message(nested, f"{name}.", comments, (*path, _NESTED, number), package)
    for number, enum in enumerate(message.enum_type):
        yield from _enum(enum, f"{name}.", comments, (*path, _NESTED_ENUM, number))


def _enum(
    enum: descriptor_pb2.EnumDescriptorProto, outer: str, comments: Comments, path: tuple[int, ...]
) -> Iterator[str]:
    yield from (f"## {outer}{enum.name}", "", _cell(comments[path]), "", "| value | number | |", "|---|---|---|")
    for number, value in enumerate(enum.value):
        yield f"| `{value.name}` | {value.number} | {_cell(comments.get((*path, _VALUE, number), ''))} |"
    yield ""


def _field_type(field: Field, message: descriptor_pb2.DescriptorProto) -> str:
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    entry = entries.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = entry.field
        return f"map of {_SCALARS[key.type]} to {_single_type(value)}"
    prefix = "repeated " if field.label == Field.LABEL_REPEATED else "optional " if field.proto3_optional else ""
    choice = f" (one of `{message.oneof_decl[field.oneof_index].name}`)" if _is_choice(field) else ""
    return f"{prefix}{_single_type(field)}{choice}"


def _is_choice(field: Field) -> bool:
    return field.HasField("oneof_index") and not field.proto3_optional


def _single_type(field: Field) -> str:
    return _type_link(field.type_name) if field.type_name else _SCALARS[field.type]


def _type_link(name: str) -> str:
    """Return a link to the heading of a message or an enum, or the name of one that has no page."""
    parts = name.strip(".").split(".")
    n_package = next(number for number, part in enumerate(parts) if part[:1].isupper())
    page = API_PAGES.get(".".join(parts[:n_package]))
    if page is None:
        return name.strip(".")
    heading = ".".join(parts[n_package:])
    return f"[{heading}]({page}#{heading.lower().replace('.', '')})"


if __name__ == "__main__":
    sys.stdout.write(documentation(sys.argv[1]))
