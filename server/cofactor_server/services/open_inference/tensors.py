"""Convert the tensors of the Open Inference Protocol to ids and numbers, and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cofactor_server.errors import InvalidField, quoted
from cofactor_server.services.open_inference.messages import InferRequest, InferResponse, InputTensor

Datatype = Literal["INT64", "BYTES", "FP32"]

# A list of ids, or a batch of lists. With a million dimensions the product of the shape would take minutes.
_MOST_DIMENSIONS = 2


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """An output of a graph.

    Attributes:
        name: its name.
        datatype: its type, INT64, FP32 or BYTES.
        shape: its shape.
        values: its elements, row-major: int, float or str by the datatype.
    """

    name: str
    datatype: Datatype
    shape: Sequence[int]
    values: Sequence[Any]


def read_inputs(
    request: InferRequest, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, list[int] | list[str]]:
    """Return the elements of every input by name: int for INT64, str for BYTES.

    Raises InvalidField for an input that is missing, unknown, repeated or damaged.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidField(
            "raw_input_contents", f"has {len(raw)} entries for {len(request.inputs)} inputs; send one for every input"
        )
    inputs: dict[str, list[int] | list[str]] = {}
    for index, tensor in enumerate(request.inputs):
        field = f"inputs[{index}]"
        if tensor.name not in (*required, *optional) or tensor.name in inputs:
            names = ", ".join((*required, *optional))
            raise InvalidField(f"{field}.name", f"{quoted(tensor.name)} is not one of {names}, or is repeated")
        if len(tensor.shape) > _MOST_DIMENSIONS:
            raise InvalidField(f"{field}.shape", f"has {len(tensor.shape)} dimensions; send one, or a batch of two")
        values = _decode_raw(tensor.datatype, raw[index], index) if raw else _read_contents(tensor, field)
        if math.prod(tensor.shape) != len(values) or min(tensor.shape, default=1) < 0:
            raise InvalidField(f"{field}.shape", f"does not fit the {len(values)} elements of the input")
        inputs[tensor.name] = values
    for name in required:
        if name not in inputs:
            raise InvalidField("inputs", f"lacks {name}; send it")
    return inputs


def _decode_raw(datatype: str, raw: bytes, index: int) -> list[int] | list[str]:
    field = f"raw_input_contents[{index}]"
    if datatype == "INT64":
        if len(raw) % 8:
            raise InvalidField(field, f"has {len(raw)} bytes; an INT64 takes 8")
        numbers: list[int] = np.frombuffer(raw, "<i8").tolist()
        return numbers
    if datatype != "BYTES":
        raise _wrong_type(datatype, f"inputs[{index}]")
    texts: list[str] = []
    position = 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise InvalidField(field, "is cut off; put its length before every id")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise InvalidField(field, "is cut off; put its length before every id")
        texts.append(_decode_id(raw[position : position + length], field))
        position += length
    return texts


def _read_contents(tensor: InputTensor, field: str) -> list[int] | list[str]:
    if tensor.datatype == "INT64":
        return list(tensor.contents.int64_contents)
    if tensor.datatype == "BYTES":
        return [_decode_id(text, field) for text in tensor.contents.bytes_contents]
    raise _wrong_type(tensor.datatype, field)


def _decode_id(raw: bytes, field: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidField(field, "has an id that is not UTF-8") from None


def _wrong_type(datatype: str, field: str) -> InvalidField:
    return InvalidField(f"{field}.datatype", f"{quoted(datatype)} is not INT64 or BYTES")


def add_output(response: InferResponse, output: OutputTensor, *, raw: bool) -> None:
    """Append an output to a response, as raw or as typed contents."""
    tensor = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    if output.datatype == "BYTES":
        texts = [str(value).encode() for value in output.values]
        if raw:
            response.raw_output_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        else:
            tensor.contents.bytes_contents.extend(texts)
    elif raw:
        dtype = "<i8" if output.datatype == "INT64" else "<f4"
        response.raw_output_contents.append(np.array(output.values, dtype).tobytes())
    elif output.datatype == "INT64":
        tensor.contents.int64_contents.extend(output.values)
    else:
        tensor.contents.fp32_contents.extend(output.values)


def ids_as_numbers(ids: Sequence[str], padding: int) -> list[int]:
    """Return ids as numbers, and empty ids as `padding`.

    Raises InvalidField if one is not a plain whole number, and so would not be found again by its number.
    """
    numbers = [_id_as_number(text) if text else padding for text in ids]
    if any(text and number == padding for text, number in zip(ids, numbers, strict=True)):
        raise InvalidField("inputs", f"ask for ids as BYTES: as INT64, {padding} stands for no item")
    return numbers


def _id_as_number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if str(number) != text:  # int() also accepts "007", "1_000" and " 5"
        raise InvalidField("inputs", "ask for ids as BYTES: this model has ids that are not plain whole numbers")
    if not -(2**63) <= number < 2**63:
        raise InvalidField("inputs", "ask for ids as BYTES: this model has ids that do not fit 64 bits")
    return number
