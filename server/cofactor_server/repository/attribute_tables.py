"""Check the tables of item attributes: names, types, shapes and contents."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.arrays import AnyArray

CODE_TYPES = ("int8", "int16", "int32")
# Every version has attributes of these names, from other tables.
BUILT_IN_NAMES = ("item_id", "title", "genres", "release_year", "rating_count")
_NAME = re.compile(r"[^\W\d]\w*")
_VALUE_TYPES = {"number": "float64", "time": "int64", "boolean": "int8"}
_TEXT_TYPES = ("text", "texts")
_NO_TIME = np.iinfo(np.int64).min
# Microseconds of the years 1 to 9999, which google.protobuf.Timestamp can express.
_FIRST_TIME, _LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999

Layout = dict[str, tuple[str, tuple[int, ...]]]


def attribute_layout(manifest: Manifest, tables: Mapping[str, AnyArray]) -> Layout:
    """Return name -> (element type, shape) of the tables of attributes; -1 stands for any length.

    Raises ValueError for a name or a type that the format does not allow.
    """
    layout: Layout = {}
    names = [entry.name for entry in manifest.item_attributes]
    for entry in manifest.item_attributes:
        if not _NAME.fullmatch(entry.name) or entry.name in BUILT_IN_NAMES or names.count(entry.name) > 1:
            raise ValueError(f"manifest.json has the attribute name {entry.name!r}, which is not allowed or repeated")
        prefix, n_items = f"item_attributes.{entry.name}", manifest.item_count
        if entry.type in _VALUE_TYPES:
            layout[f"{prefix}.values"] = (_VALUE_TYPES[entry.type], (n_items,))
            continue
        if entry.type not in _TEXT_TYPES:
            raise ValueError(f"manifest.json has the attribute {entry.name} of the unknown type {entry.type!r}")
        stored = str(tables[f"{prefix}.values"].dtype) if f"{prefix}.values" in tables else ""
        is_list = entry.type == "texts"
        layout[f"{prefix}.values"] = (stored if stored in CODE_TYPES else "int32", (-1 if is_list else n_items,))
        layout[f"{prefix}.texts.bytes"] = ("uint8", (-1,))
        layout[f"{prefix}.texts.offsets"] = ("int64", (-1,))
        if is_list:
            layout[f"{prefix}.offsets"] = ("int64", (n_items + 1,))
    return layout


def check_attribute_contents(manifest: Manifest, tables: Mapping[str, AnyArray]) -> None:
    """Raise ValueError for positions outside their range, and for numbers and times that no training gives."""
    for entry in manifest.item_attributes:
        name = f"item_attributes.{entry.name}"
        values = tables[f"{name}.values"]
        if entry.type in _TEXT_TYPES:
            n_texts, lowest = len(tables[f"{name}.texts.offsets"]) - 1, 0 if entry.type == "texts" else -1
            if len(values) and (int(values.min()) < lowest or int(values.max()) >= n_texts):
                raise ValueError(f"table {name}.values holds an index outside its range")
        elif entry.type == "number" and np.isinf(values).any():
            raise ValueError(f"table {name}.values holds a number that is infinite")
        elif entry.type == "boolean" and len(values) and (int(values.min()) < -1 or int(values.max()) > 1):
            raise ValueError(f"table {name}.values holds a number that is not -1, 0 or 1")
        elif entry.type == "time":
            known = values[values != _NO_TIME]
            if len(known) and (int(known.min()) < _FIRST_TIME or int(known.max()) > _LAST_TIME):
                raise ValueError(f"table {name}.values holds a time outside the years 1 to 9999")
        if entry.type == "texts":
            offsets = tables[f"{name}.offsets"]
            if offsets[0] != 0 or offsets[-1] != len(values) or np.any(np.diff(offsets) < 0):
                raise ValueError(f"table {name}.offsets does not fit its lists")
