"""Give Arrow the arrays of a version without converting them.

pyarrow.array() would do, but it imports pandas where that is installed, which takes seconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from cofactor_server.arrays import AnyArray
from cofactor_server.serving.loaded_version import LoadedVersion


def of_numbers(values: AnyArray) -> Any:
    """Return the Arrow array of numbers (n,), which shares their memory."""
    contiguous = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(contiguous.dtype)
    return pa.Array.from_buffers(kind, len(contiguous), [None, pa.py_buffer(contiguous)])


def of_strings(version: LoadedVersion, name: str) -> Any:
    """Return the Arrow array of the strings in the tables `<name>.bytes` and `<name>.offsets` of a version."""
    offsets, text = version.tables[f"{name}.offsets"], version.tables[f"{name}.bytes"]
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(np.ascontiguousarray(text))]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers).cast(pa.string())
