"""Array types that all packages share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.float32]
IndexArray: TypeAlias = npt.NDArray[np.int64]
Int32Array: TypeAlias = npt.NDArray[np.int32]
AnyArray: TypeAlias = npt.NDArray[np.generic]
T = TypeVar("T", bound=np.generic)

NO_ROWS: IndexArray = np.empty(0, dtype=np.int64)
NO_ROWS.flags.writeable = False


def no_rows() -> IndexArray:
    """Return NO_ROWS: dataclasses accept an array as a default only from a function."""
    return NO_ROWS


def typed_table(tables: Mapping[str, AnyArray], name: str, dtype: type[T]) -> npt.NDArray[T]:
    """Return a version's table as an array of `dtype`. Opening the version directory has checked the type."""
    assert tables[name].dtype == dtype, name
    return cast("npt.NDArray[T]", tables[name])
