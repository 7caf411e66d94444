"""Bound the size of the attributes in an Item message."""

from __future__ import annotations

import numpy as np

from cofactor_server.arrays import IndexArray
from cofactor_server.ranking.attribute_columns.column import Column
from cofactor_server.ranking.attribute_columns.texts import CodedTextColumn, TextsColumn
from cofactor_server.ranking.attributes import ItemAttributes
from cofactor_server.serving.field_sizes import field_sizes

# The content of an AttributeValue: a double, a bool, and a Timestamp with its largest numbers, each with its tag.
_FIXED_SIZES = {"number": 9, "boolean": 2, "time": 2 + 11 + 6}


def attribute_sizes(attributes: ItemAttributes, rows: slice) -> IndexArray:
    """Return upper bounds in bytes of the field `attributes` of some items, (n,); `rows` has a start and a stop."""
    sizes = np.zeros(rows.stop - rows.start, dtype=np.int64)
    for name, column in attributes.further.items():
        key = int(field_sizes(np.array([len(name.encode())]))[0])
        sizes += field_sizes(key + field_sizes(_value_sizes(column, rows)))
    return sizes


def _value_sizes(column: Column, rows: slice) -> IndexArray:
    """Return the bytes of the AttributeValue of some items, (n,)."""
    if isinstance(column, CodedTextColumn):
        sizes = field_sizes(column.texts.byte_lengths(slice(0, len(column.texts))))
        # The code -1 of an unknown text reads the last entry.
        return np.append(sizes, 0)[column.codes[rows]]
    if isinstance(column, TextsColumn):
        sizes = field_sizes(column.texts.byte_lengths(slice(0, len(column.texts))))
        offsets = column.offsets[rows.start : rows.stop + 1]
        totals = np.concatenate([[0], np.cumsum(sizes[column.codes[offsets[0] : offsets[-1]]])])
        return field_sizes(np.diff(totals[offsets - offsets[0]]))
    return np.full(rows.stop - rows.start, _FIXED_SIZES[column.type], dtype=np.int64)
