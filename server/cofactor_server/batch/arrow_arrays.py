"""Convert arrays and strings to Arrow.

pyarrow.array() would do, but it imports pandas where that is installed, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from cofactor_server.arrays import AnyArray


def of_numbers(values: AnyArray) -> Any:
    """Return the Arrow array of numbers (n,), which shares their memory."""
    contiguous = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(contiguous.dtype)
    return pa.Array.from_buffers(kind, len(contiguous), [None, pa.py_buffer(contiguous)])


def of_strings(strings: Iterable[str]) -> Any:
    """Return the Arrow array of some strings, (n,)."""
    encoded = [string.encode() for string in strings]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers).cast(pa.string())
