"""Write tables.bin: every array of a version in one file, raw and aligned, for memory-mapping."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor.v1 import manifest_pb2

ALIGNMENT = 4096


def encode_strings(name: str, strings: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Encode n strings as two arrays: `<name>.bytes` in UTF-8, and `<name>.offsets` (n + 1,).

    String i is bytes[offsets[i] : offsets[i + 1]].
    """
    encoded = [string.encode() for string in strings]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(string) for string in encoded], out=offsets[1:])
    return {f"{name}.bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}.offsets": offsets}


def write_tables(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> list[manifest_pb2.Table]:
    """Write arrays little-endian and row-major, each at a multiple of ALIGNMENT.

    Returns:
        The manifest entry of every array, with its offset in the file.
    """
    tables = []
    with path.open("wb") as file:
        for name, array in arrays.items():
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            tables.append(manifest_pb2.Table(name=name, dtype=array.dtype.name, shape=array.shape, offset=file.tell()))
            file.write(little_endian.data)
        # A memory map consists of whole pages, so the page of the last array is complete too.
        file.write(b"\0" * (-file.tell() % ALIGNMENT))
        file.flush()
        os.fsync(file.fileno())
    return tables
