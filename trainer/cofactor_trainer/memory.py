"""Use no more memory than the data needs: arrays that grow in place, and the return of what is free."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)


class GrowingArray(Generic[Number]):
    """An array that grows in place; concatenating parts at the end would take twice the memory."""

    def __init__(self, kind: type[Number] | np.dtype[Number]) -> None:
        self._values = np.empty(0, kind)
        self._length = 0

    def append(self, part: npt.NDArray[Number]) -> None:
        """Add a part at the end."""
        end = self._length + len(part)
        if end > len(self._values):
            self._values.resize(max(end, self._length * 5 // 4), refcheck=False)
        self._values[self._length : end] = part
        self._length = end

    def values(self) -> npt.NDArray[Number]:
        """Return all parts, (n,); do not append afterwards."""
        self._values.resize(self._length, refcheck=False)
        return self._values


def return_freed_memory() -> None:
    """Return the memory that Arrow and the C library hold for later, hundreds of megabytes after millions of rows."""
    # Not imported here: whoever has not read a file with Arrow has nothing of it to return.
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # musl has no malloc_trim
        ctypes.CDLL("libc.so.6").malloc_trim(0)
