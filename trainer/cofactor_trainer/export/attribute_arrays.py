"""Build the arrays of the items' attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.item_attributes import AttributeColumn, ItemAttributes
from cofactor_trainer.export.table_file import encode_strings

Arrays = dict[str, npt.NDArray[Any]]
_CODE_TYPES = (np.int8, np.int16, np.int32)


def attribute_arrays(attributes: ItemAttributes) -> Arrays:
    """Build the arrays of all attributes; docs/model-format.md describes them."""
    arrays: Arrays = {}
    for column in attributes.columns:
        prefix = f"item_attributes.{column.name}"
        arrays[f"{prefix}.values"] = _values(column)
        if column.type in ("text", "texts"):
            arrays |= encode_strings(f"{prefix}.texts", column.texts)
        if column.offsets is not None:
            arrays[f"{prefix}.offsets"] = column.offsets
    return arrays


def attribute_entries(attributes: ItemAttributes) -> list[manifest_pb2.ItemAttributeColumn]:
    """Return the manifest entries of all attributes."""
    return [manifest_pb2.ItemAttributeColumn(name=column.name, type=column.type) for column in attributes.columns]


def _values(column: AttributeColumn) -> npt.NDArray[Any]:
    """Return the values of a column; positions of texts in the smallest type that holds them, to be scanned fast."""
    if column.type not in ("text", "texts"):
        return column.values
    kind = next(kind for kind in _CODE_TYPES if len(column.texts) <= np.iinfo(kind).max)
    return column.values.astype(kind)
