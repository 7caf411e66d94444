"""JSON schemas of protobuf messages in ProtoJSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Schema = dict[str, Any]

_SPECIAL_NUMBERS = ["NaN", "Infinity", "-Infinity"]
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
}
# The well-known types that the API uses.
_WELL_KNOWN = {"google.protobuf.Timestamp": {"type": "string", "format": "date-time"}}


class MessageSchemas:
    """Collects the schema of every message that is asked for, and of those in it.

    Attributes:
        schemas: the schemas by their name among the components.
    """

    def __init__(self, comments: Mapping[str, str]) -> None:
        self.schemas: dict[str, Schema] = {}
        self._comments = comments

    def reference(self, descriptor: Descriptor, *, is_response: bool) -> Schema:
        """Return a reference to the schema of a message.

        A response has all fields without presence, and may get further fields in a later release; a request has the
        fields that its caller sets, and no unknown ones.
        """
        name = component_name(descriptor.full_name)
        if name not in self.schemas:
            self.schemas[name] = {}  # known from now on: a message may contain messages of its own type
            self.schemas[name] = self._object(descriptor, is_response=is_response)
        elif not is_response:
            self._as_request(name)
        return {"$ref": f"#/components/schemas/{name}"}

    def _as_request(self, name: str) -> None:
        """Note that a message is part of requests, not only of responses."""
        schema = self.schemas[name]
        if schema.pop("required", None) is not None:
            schema["additionalProperties"] = False

    def _object(self, descriptor: Descriptor, *, is_response: bool) -> Schema:
        fields = descriptor.fields
        properties = {field.json_name: self._property(field, is_response=is_response) for field in fields}
        schema = self._described(descriptor.full_name, {"type": "object", "properties": properties})
        if is_response:
            schema["required"] = [field.json_name for field in fields if not field.has_presence]
        else:
            schema["additionalProperties"] = False
        choices = [oneof for oneof in descriptor.oneofs if len(oneof.fields) > 1]
        for oneof in choices:
            names = ", ".join(field.json_name for field in oneof.fields)
            schema["description"] = f"{schema.get('description', '')} At most one of {names} is set.".strip()
        return schema

    def _property(self, field: FieldDescriptor, *, is_response: bool) -> Schema:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = self._value(field.message_type.fields_by_name["value"], is_response=is_response)
            schema: Schema = {"type": "object", "additionalProperties": value}
        else:
            schema = self._value(field, is_response=is_response)
            if field.is_repeated:
                schema = {"type": "array", "items": schema}
        return self._described(field.full_name, schema)

    def _value(self, field: FieldDescriptor, *, is_response: bool) -> Schema:
        if field.message_type is not None:
            known = _WELL_KNOWN.get(field.message_type.full_name)
            return dict(known) if known else self.reference(field.message_type, is_response=is_response)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.cpp_type in _INTEGERS:
            low, high = _INTEGERS[field.cpp_type]
            return {"type": "integer", "minimum": low, "maximum": high}
        return {
            FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
            FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
            FieldDescriptor.CPPTYPE_INT64: {"type": "string", "pattern": "^-?[0-9]{1,18}$"},
            FieldDescriptor.CPPTYPE_UINT64: {"type": "string", "pattern": "^[0-9]{1,19}$"},
            FieldDescriptor.CPPTYPE_FLOAT: _number("float"),
            FieldDescriptor.CPPTYPE_DOUBLE: _number("double"),
        }[field.cpp_type]

    def _enum(self, enum: EnumDescriptor) -> Schema:
        described = [
            f"- `{value.name}`: {self._comments[f'{enum.full_name}.{value.name}']}"
            for value in enum.values
            if f"{enum.full_name}.{value.name}" in self._comments
        ]
        schema: Schema = {"type": "string", "enum": [value.name for value in enum.values]}
        schema["description"] = "\n".join([self._comments.get(enum.full_name, ""), "", *described])
        return schema

    def _described(self, full_name: str, schema: Schema) -> Schema:
        """Add the comment of a message or field to its schema."""
        comment = self._comments.get(full_name, "")
        own = schema.get("description", "")
        described = "\n\n".join(text for text in (comment, own) if text)
        return {**schema, "description": described} if described else schema


def component_name(full_name: str) -> str:
    """Return the name of a message among the components.

    >>> component_name("cofactor.v1.RecommendRequest"), component_name("cofactor.admin.v1.Version")
    ('RecommendRequest', 'admin.Version')
    """
    for package, prefix in (("cofactor.v1.", ""), ("cofactor.admin.v1.", "admin.")):
        if full_name.startswith(package):
            return prefix + full_name.removeprefix(package)
    raise ValueError(f"{full_name} is not a message of the API")


def _number(kind: str) -> Schema:
    return {"anyOf": [{"type": "number", "format": kind}, {"type": "string", "enum": _SPECIAL_NUMBERS}]}
