"""Decode ProtoJSON to protobuf messages, and say which field is wrong.

Follows https://protobuf.dev/programming-guides/json: camelCase or original names, null for unset, numbers also as
strings, enums by name or number. Like json_encoding, each message type becomes a decoder once, which the tests compare
with google.protobuf.json_format. Unlike there, errors name the field's path, such as "user.history.ratings[2].rating".
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from cofactor_web.json_encoding import WELL_KNOWN_FOLDER

# Sets a field of a message from a JSON value.
Setter = Callable[[Message, Any], None]
Decoder = Callable[[Message, Any], None]
Converter = Callable[[Any], Any]

# Numbers from here on are nearer to 2^128 than to the largest 32-bit float.
_TOO_LARGE_FLOAT = 3.4028235677973366e38
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LONGEST_QUOTE = 64


class FieldError(ValueError):
    """A field of a request that is not what its message type says.

    Attributes:
        field: path of the field, such as "user.history.ratings[2].rating"; "" for the whole body.
        problem: the error and what is accepted, without the path.
    """

    def __init__(self, problem: str, field: str = "") -> None:
        super().__init__(problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        """Return the path and the problem."""
        return f"{self.field or 'the body'}: {self.problem}"

    def within(self, parent: str) -> FieldError:
        """Return the error with the path of a field of the message around it, "ratings[2]" for "rating"."""
        joint = "." if self.field and not self.field.startswith("[") else ""
        return FieldError(self.problem, f"{parent}{joint}{self.field}")


class MessageDecoders:
    """The decoders of message types, each made once."""

    def __init__(self) -> None:
        self._decoders: dict[str, _MessageDecoder] = {}

    def decoder(self, descriptor: Descriptor) -> Decoder:
        """Return a function that fills a message of this type from a JSON value. It raises FieldError."""
        if descriptor.file.name.startswith(WELL_KNOWN_FOLDER):
            return _decode_well_known
        known = self._decoders.get(descriptor.full_name)
        if known is None:
            known = self._decoders[descriptor.full_name] = _MessageDecoder()
            known.add_fields(descriptor, self)  # after it is known: a message may contain messages of its own type
        return known


class _MessageDecoder:
    """Fills the messages of one type."""

    def __init__(self) -> None:
        self._fields: dict[str, tuple[str, str, Setter]] = {}
        self._names = ""

    def add_fields(self, descriptor: Descriptor, decoders: MessageDecoders) -> None:
        """Learn the fields of the type."""
        for field in descriptor.fields:
            oneof = "" if field.containing_oneof is None else field.containing_oneof.name
            known = field.name, oneof, _field_setter(field, decoders)
            self._fields[field.json_name] = self._fields[field.name] = known
        self._names = ", ".join(field.json_name for field in descriptor.fields) or "none"

    def __call__(self, message: Message, value: Any) -> None:
        """Set the fields of a message from a JSON object. Raises FieldError."""
        if not isinstance(value, dict):
            raise FieldError(f"must be an object, not {_kind(value)}")
        seen: set[str] = set()
        for given_name, content in value.items():
            known = self._fields.get(given_name)
            if known is None:
                raise FieldError(f"there is no such field; the fields are {self._names}", _shortened(given_name))
            name, oneof, set_field = known
            if name in seen:
                raise FieldError("is given twice, under both of its names", name)
            seen.add(name)
            if content is None:
                continue
            if oneof and (other := message.WhichOneof(oneof)):
                raise FieldError(f"cannot be set together with {other}; set one of them", name)
            try:
                set_field(message, content)
            except FieldError as error:
                raise error.within(name) from None


def _field_setter(field: FieldDescriptor, decoders: MessageDecoders) -> Setter:
    name = field.name
    if field.message_type is None:
        set_field = _set_list if field.is_repeated else _set_value
        return partial(set_field, name, _converter(field))
    if field.message_type.GetOptions().map_entry:
        return _map_setter(field, decoders)
    decode = decoders.decoder(field.message_type)
    return partial(_set_messages if field.is_repeated else _set_message, name, decode)


def _set_value(name: str, convert: Converter, message: Message, value: Any) -> None:
    setattr(message, name, convert(value))


def _set_list(name: str, convert: Converter, message: Message, values: Any) -> None:
    append = getattr(message, name).append
    for number, value in enumerate(_list(values)):
        try:
            append(convert(value))
        except FieldError as error:
            raise error.within(f"[{number}]") from None


def _set_message(name: str, decode: Decoder, message: Message, value: Any) -> None:
    child = getattr(message, name)
    child.SetInParent()
    decode(child, value)


def _set_messages(name: str, decode: Decoder, message: Message, values: Any) -> None:
    add = getattr(message, name).add
    for number, value in enumerate(_list(values)):
        try:
            decode(add(), value)
        except FieldError as error:
            raise error.within(f"[{number}]") from None


def _map_setter(field: FieldDescriptor, decoders: MessageDecoders) -> Setter:
    entry: Any = field.message_type
    name = field.name
    convert_key = _key_converter(entry.fields_by_name["key"])
    value_field = entry.fields_by_name["value"]
    decode = decoders.decoder(value_field.message_type) if value_field.message_type is not None else None
    convert = _unchanged if decode is not None else _converter(value_field)

    def set_map(message: Message, values: Any) -> None:
        entries = getattr(message, name)
        if not isinstance(values, dict):
            raise FieldError(f"must be an object, not {_kind(values)}")
        for key, value in values.items():
            try:
                if decode is not None:
                    decode(entries[convert_key(key)], value)
                else:
                    entries[convert_key(key)] = convert(value)
            except FieldError as error:
                raise error.within(f'["{_shortened(key)}"]') from None

    return set_map


def _unchanged(value: Any) -> Any:
    return value


def _converter(field: FieldDescriptor) -> Converter:
    """Return the function that checks and converts one JSON value that is not a message."""
    if field.enum_type is not None:
        return partial(_to_enum, _numbers_by_name(field.enum_type))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _to_bytes
    return _CONVERTERS[field.cpp_type]


def _key_converter(field: FieldDescriptor) -> Converter:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _to_boolean_key
    return _CONVERTERS[field.cpp_type]


def _numbers_by_name(enum: EnumDescriptor) -> dict[str, int]:
    return {name: value.number for name, value in enum.values_by_name.items()}


def _decode_well_known(message: Message, value: Any) -> None:
    try:
        json_format.ParseDict(value, message)
    except (json_format.ParseError, ValueError, TypeError, AttributeError):
        example = ', such as "2026-01-31T12:00:00Z"' if message.DESCRIPTOR.name == "Timestamp" else ""
        raise FieldError(f"is not a {message.DESCRIPTOR.full_name} in ProtoJSON{example}") from None


def _list(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise FieldError(f"must be a list, not {_kind(values)}")
    return values


def _to_string(value: Any) -> str:
    if not isinstance(value, str):
        raise FieldError(f"must be a string, not {_kind(value)}")
    return value


def _to_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise FieldError(f"must be true or false, not {_kind(value)}")
    return value


def _to_boolean_key(value: str) -> bool:
    if value not in ("true", "false"):
        raise FieldError('must be "true" or "false"')
    return value == "true"


def _to_integer(low: int, high: int, value: Any) -> int:
    is_text = isinstance(value, str) and _INTEGER.fullmatch(value)
    is_whole = isinstance(value, float) and value.is_integer()
    number = int(value) if is_text or is_whole else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise FieldError(f"must be a whole number, not {_kind(value)}")
    if not low <= number <= high:
        raise FieldError(f"must be from {low} to {high}")
    return number


def _to_float(value: Any) -> float:
    number = value if type(value) is float else _to_double(value)
    if -_TOO_LARGE_FLOAT < number < _TOO_LARGE_FLOAT or not math.isfinite(number):
        return number
    raise FieldError("is too large for a 32-bit float")


def _to_double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FieldError(f"must be a number, not {_kind(value)}")
    if isinstance(value, str):
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value)
        if not _NUMBER.fullmatch(value):
            raise FieldError('must be a number, "NaN", "Infinity" or "-Infinity"')
    number = float(value)
    if math.isinf(number):
        raise FieldError("is too large for a 64-bit float")
    return number


def _to_enum(numbers: dict[str, int], value: Any) -> int:
    if isinstance(value, str) and value in numbers:
        return numbers[value]
    if isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31:
        return value
    raise FieldError(f"must be one of {', '.join(numbers)}")


def _to_bytes(value: Any) -> bytes:
    text = _to_string(value).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise FieldError("must be base64") from None


_CONVERTERS: dict[int, Converter] = {
    FieldDescriptor.CPPTYPE_STRING: _to_string,
    FieldDescriptor.CPPTYPE_BOOL: _to_boolean,
    FieldDescriptor.CPPTYPE_FLOAT: _to_float,
    FieldDescriptor.CPPTYPE_DOUBLE: _to_double,
    FieldDescriptor.CPPTYPE_INT32: partial(_to_integer, -(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: partial(_to_integer, 0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: partial(_to_integer, -(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: partial(_to_integer, 0, 2**64 - 1),
}


def _kind(value: Any) -> str:
    """Return what a JSON value is, for messages."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _shortened(text: str) -> str:
    shortened = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shortened)
