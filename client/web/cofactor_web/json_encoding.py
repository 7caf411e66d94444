"""Encode protobuf messages as ProtoJSON.

google.protobuf.json_format asks the descriptor about every field of every message, which takes longer than the call to
the server (docs/benchmarks/gateway.md). Here each message type becomes an encoder once. The tests compare both on
random messages. Fields without presence are always in the result, so that callers see zeros and empty lists.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

JsonObject = dict[str, Any]
Encoder = Callable[[Message], Any]

WELL_KNOWN_FOLDER = "google/protobuf/"
_PACK, _UNPACK = struct.Struct("<f").pack, struct.Struct("<f").unpack


class MessageEncoders:
    """The encoders of message types, each made once."""

    def __init__(self) -> None:
        self._encoders: dict[str, _MessageEncoder] = {}

    def encoder(self, descriptor: Descriptor) -> Encoder:
        """Return a function that turns a message of this type into what JSON can express."""
        if descriptor.file.name.startswith(WELL_KNOWN_FOLDER):
            return _encode_timestamp if descriptor.name == "Timestamp" else json_format.MessageToDict
        known = self._encoders.get(descriptor.full_name)
        if known is None:
            known = self._encoders[descriptor.full_name] = _MessageEncoder()
            known.add_fields(descriptor, self)  # after it is known: a message may contain messages of its own type
        return known


class _MessageEncoder:
    """Encodes the messages of one type. Its fields are in groups that are read in the same way."""

    def __init__(self) -> None:
        self._plain: tuple[list[str], Callable[[Message], tuple[Any, ...]]] = ([], _no_values)
        self._converted: list[tuple[str, str, Callable[[Any], Any]]] = []
        self._optional: list[tuple[str, str, Callable[[Any], Any]]] = []

    def add_fields(self, descriptor: Descriptor, encoders: MessageEncoders) -> None:
        """Learn the fields of the type."""
        plain: list[FieldDescriptor] = []
        for field in descriptor.fields:
            convert = _field_converter(field, encoders)
            if field.has_presence:
                self._optional.append((field.name, field.json_name, convert or _unchanged))
            elif convert is None:
                plain.append(field)
            else:
                self._converted.append((field.name, field.json_name, convert))
        names = [field.name for field in plain]
        # attrgetter returns a tuple only for two names and more.
        read = attrgetter(*names) if len(names) > 1 else _reader_of_few(names)
        self._plain = [field.json_name for field in plain], read

    def __call__(self, message: Message) -> JsonObject:
        """Return the message by JSON name."""
        names, read = self._plain
        result = dict(zip(names, read(message), strict=True))
        for name, json_name, convert in self._converted:
            result[json_name] = convert(getattr(message, name))
        for name, json_name, convert in self._optional:
            if message.HasField(name):
                result[json_name] = convert(getattr(message, name))
        return result


def _no_values(_message: Message) -> tuple[Any, ...]:
    return ()


def _reader_of_few(names: list[str]) -> Callable[[Message], tuple[Any, ...]]:
    """Return a function that reads one field or none."""
    return (lambda message: (getattr(message, names[0]),)) if names else _no_values


def _field_converter(field: FieldDescriptor, encoders: MessageEncoders) -> Callable[[Any], Any] | None:
    """Return the function that converts a field's value; None if JSON takes the value as it is."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return partial(_encode_map, _value_converter(value, encoders) or _unchanged)
    convert = _value_converter(field, encoders)
    if not field.is_repeated:
        return convert
    return list if convert is None else partial(_encode_list, convert)


def _value_converter(field: FieldDescriptor, encoders: MessageEncoders) -> Callable[[Any], Any] | None:
    """Return the function that converts one value; None if JSON takes it as it is."""
    if field.message_type is not None:
        return encoders.encoder(field.message_type)
    if field.enum_type is not None:
        return partial(_encode_enum, _names_by_number(field.enum_type))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _encode_bytes
    converters: dict[int, Callable[[Any], Any]] = {
        FieldDescriptor.CPPTYPE_INT64: str,
        FieldDescriptor.CPPTYPE_UINT64: str,
        FieldDescriptor.CPPTYPE_FLOAT: encode_float,
        FieldDescriptor.CPPTYPE_DOUBLE: encode_double,
    }
    return converters.get(field.cpp_type)


def _names_by_number(enum: EnumDescriptor) -> dict[int, str]:
    """Return the first name of every number."""
    return {number: value.name for number, value in enum.values_by_number.items()}


def encode_float(value: float) -> float | str:
    """Return the shortest decimal number that is the same 32-bit float; a string for NaN and infinity.

    Every 32-bit float has such a number of 6 to 9 digits; most have 7 or 8.
    """
    if -1000 < value < 1000 and (value * 8).is_integer():
        return value  # has at most 6 digits
    if value - value != 0:  # NaN or infinity
        return encode_double(value)
    rounded = float("%.7g" % value)  # noqa: UP031 (half the time of an f-string)
    if _is_same_float(rounded, value):
        shorter = float("%.6g" % value)  # noqa: UP031
        return shorter if _is_same_float(shorter, value) else rounded
    rounded = float("%.8g" % value)  # noqa: UP031
    return rounded if _is_same_float(rounded, value) else float("%.9g" % value)  # noqa: UP031


def _is_same_float(rounded: float, value: float) -> bool:
    try:
        return bool(_UNPACK(_PACK(rounded))[0] == value)
    except OverflowError:  # rounded up beyond the largest float
        return False


def encode_double(value: float) -> float | str:
    """Return the number, or a string for NaN and infinity."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _encode_timestamp(message: Any) -> str:
    return str(message.ToJsonString())


def _encode_enum(names: dict[int, str], number: int) -> str | int:
    return names.get(number, number)


def _encode_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _encode_list(convert: Callable[[Any], Any], values: Any) -> list[Any]:
    return [convert(value) for value in values]


def _encode_map(convert: Callable[[Any], Any], values: Any) -> JsonObject:
    return {_encode_key(key): convert(values[key]) for key in values}


def _encode_key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _unchanged(value: Any) -> Any:
    return value
