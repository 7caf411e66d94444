"""Check the attributes of items that an overlay adds, and make their tables as docs/model-format.md describes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cofactor.v1.manifest_pb2 import ItemAttributeColumn
from cofactor.v1.model_pb2 import AttributeValue, Item
from cofactor_server.arrays import AnyArray

# What stands for an unknown value in the tables.
_NO_TIME = int(np.iinfo(np.int64).min)
_NO_BOOLEAN = _NO_TEXT = -1


def attribute_problem(item: Item, types: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the name of an attribute that does not fit the version and what is wrong, None if all fit.

    `types` has the type of every attribute of the version by name.
    """
    for name, value in item.attributes.items():
        kind = value.WhichOneof("kind")
        if name not in types:
            return name, f"is not an attribute of the version; it has {', '.join(types) or 'none'}"
        if kind is not None and kind != types[name]:
            return name, f"is of type {kind}, and in the version of type {types[name]}"
        if kind == "number" and not math.isfinite(value.number):
            return name, "must be a finite number; leave it out if it is not known"
    return None


def strings(name: str, texts: Sequence[str]) -> dict[str, AnyArray]:
    """Return the two tables of a list of strings."""
    encoded = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
    return {f"{name}.bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}.offsets": offsets}


def attribute_tables(columns: Sequence[ItemAttributeColumn], items: Sequence[Item]) -> dict[str, AnyArray]:
    """Return the tables of the attributes of items."""
    tables: dict[str, AnyArray] = {}
    for column in columns:
        values = [item.attributes.get(column.name) for item in items]
        known = [None if value is None or value.WhichOneof("kind") is None else value for value in values]
        tables |= _column_tables(f"item_attributes.{column.name}", column.type, known)
    return tables


def _column_tables(prefix: str, kind: str, values: Sequence[AttributeValue | None]) -> dict[str, AnyArray]:
    if kind == "number":
        return {f"{prefix}.values": np.array([np.nan if v is None else v.number for v in values], np.float64)}
    if kind == "time":
        return {f"{prefix}.values": np.array([_NO_TIME if v is None else _microseconds(v) for v in values], np.int64)}
    if kind == "boolean":
        return {f"{prefix}.values": np.array([_NO_BOOLEAN if v is None else v.boolean for v in values], np.int8)}
    lists = [[] if v is None else [v.text] if kind == "text" else sorted({*v.texts.values} - {""}) for v in values]
    texts = sorted({text for own in lists for text in own})
    codes = {text: code for code, text in enumerate(texts)}
    tables = strings(f"{prefix}.texts", texts)
    if kind == "text":
        tables[f"{prefix}.values"] = np.array([codes[own[0]] if own else _NO_TEXT for own in lists], np.int32)
        return tables
    tables[f"{prefix}.values"] = np.array([codes[text] for own in lists for text in own], np.int32)
    tables[f"{prefix}.offsets"] = np.concatenate([[0], np.cumsum([len(own) for own in lists])]).astype(np.int64)
    return tables


def _microseconds(value: AttributeValue) -> int:
    return value.time.seconds * 1_000_000 + value.time.nanos // 1000
