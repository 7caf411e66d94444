"""Compute the sizes of fields in protobuf's wire format."""

from __future__ import annotations

import numpy as np

from cofactor_server.arrays import IndexArray


def varint_sizes(numbers: IndexArray) -> IndexArray:
    """Return the bytes of numbers that are not negative, in protobuf's base-128 form."""
    return np.searchsorted(128 ** np.arange(1, 9, dtype=np.int64), numbers, side="right") + 1


def field_sizes(lengths: IndexArray) -> IndexArray:
    """Return the bytes of fields with contents of these lengths: a tag of one byte, the length and the contents."""
    return 1 + varint_sizes(lengths) + lengths
