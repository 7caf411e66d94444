"""Names of the array types that the modules hand to each other."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.float32]
IndexArray: TypeAlias = npt.NDArray[np.int64]
AnyArray: TypeAlias = npt.NDArray[np.generic]

NO_ROWS: IndexArray = np.empty(0, dtype=np.int64)
NO_ROWS.flags.writeable = False


def no_rows() -> IndexArray:
    """NO_ROWS, as a dataclass wants its default."""
    return NO_ROWS
