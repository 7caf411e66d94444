"""Tensors of the Open Inference Protocol as arrays of ids and numbers, and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from cofactor_server.errors import InvalidField, quoted

INT64, BYTES, FP32 = "INT64", "BYTES", "FP32"

# A list of ids, or a batch of it. The product of more dimensions takes minutes where a caller sends a million of them.
_MOST_DIMENSIONS = 2


def read_inputs(request: Any, wanted: Sequence[str], optional: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The inputs of a ModelInferRequest by name: whole numbers as int, ids as str; raises InvalidField.

    A missing optional one is absent.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidField(
            "raw_input_contents", f"has {len(raw)} entries for {len(request.inputs)} inputs; send one each"
        )
    found: dict[str, list[Any]] = {}
    for index, tensor in enumerate(request.inputs):
        field = f"inputs[{index}]"
        if tensor.name not in (*wanted, *optional) or tensor.name in found:
            names = ", ".join((*wanted, *optional))
            raise InvalidField(f"{field}.name", f"{quoted(tensor.name)} is not one of {names}, each at most once")
        if len(tensor.shape) > _MOST_DIMENSIONS:
            raise InvalidField(f"{field}.shape", f"has {len(tensor.shape)} dimensions; send one, or a batch of two")
        values = _from_raw(tensor.datatype, raw[index], field) if raw else _from_contents(tensor, field)
        if math.prod(tensor.shape) != len(values) or min(tensor.shape, default=1) < 0:
            raise InvalidField(f"{field}.shape", f"does not fit its {len(values)} elements")
        found[tensor.name] = values
    for name in wanted:
        if name not in found:
            raise InvalidField("inputs", f"lacks {name}")
    return found


def _from_raw(datatype: str, raw: bytes, field: str) -> list[Any]:
    if datatype == INT64:
        if len(raw) % 8:
            raise InvalidField(field, "has raw contents that are no whole number of INT64")
        numbers: list[Any] = np.frombuffer(raw, "<i8").tolist()
        return numbers
    if datatype != BYTES:
        raise _wrong_type(datatype, field)
    texts, position = [], 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise InvalidField(field, "has raw contents that are cut off")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise InvalidField(field, "has raw contents that are cut off")
        texts.append(_text(raw[position : position + length], field))
        position += length
    return texts


def _from_contents(tensor: Any, field: str) -> list[Any]:
    if tensor.datatype == INT64:
        return list(tensor.contents.int64_contents)
    if tensor.datatype == BYTES:
        return [_text(each, field) for each in tensor.contents.bytes_contents]
    raise _wrong_type(tensor.datatype, field)


def _text(raw: bytes, field: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidField(field, "holds an id that is not UTF-8") from None


def _wrong_type(datatype: str, field: str) -> InvalidField:
    return InvalidField(f"{field}.datatype", f"{quoted(datatype)} is not INT64 or BYTES")


def add_output(response: Any, name: str, datatype: str, shape: Sequence[int], values: Sequence[Any], raw: bool) -> None:
    """Append an output to a ModelInferResponse; values are int, float or str by its datatype, row-major."""
    tensor = response.outputs.add(name=name, datatype=datatype, shape=shape)
    if datatype == BYTES:
        texts = [str(value).encode() for value in values]
        if raw:
            response.raw_output_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        else:
            tensor.contents.bytes_contents.extend(texts)
    elif raw:
        response.raw_output_contents.append(np.array(values, "<i8" if datatype == INT64 else "<f4").tobytes())
    elif datatype == INT64:
        tensor.contents.int64_contents.extend(values)
    else:
        tensor.contents.fp32_contents.extend(values)


def whole_numbers(ids: Sequence[str], padding: int) -> list[int]:
    """Ids as numbers, empty ones as `padding`; raises InvalidField where a number would not name the same item."""
    numbers = [_number(each) if each else padding for each in ids]
    if any(each and number == padding for each, number in zip(ids, numbers, strict=True)):
        raise InvalidField("inputs", f"ask for ids as BYTES: as INT64, {padding} stands for no item")
    return numbers


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if str(number) != text:  # int() takes "007", "1_000" and " 5" too
        raise InvalidField("inputs", "ask for ids as BYTES: this model's are not all plain whole numbers")
    if not -(2**63) <= number < 2**63:
        raise InvalidField("inputs", "ask for ids as BYTES: this model's are not all 64-bit numbers")
    return number
