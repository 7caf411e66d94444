"""Read a version's arrays without the code under test."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np


class Tables:
    """A version's tables.bin and manifest.json (docs/model-format.md)."""

    def __init__(self, version: Path) -> None:
        self.manifest = json.loads((version / "manifest.json").read_text("utf-8"))
        self._file = np.memmap(version / "tables.bin", dtype=np.uint8, mode="r")
        self._tables = {table["name"]: table for table in self.manifest["tables"]}

    @property
    def size_bytes(self) -> int:
        """Return the size of tables.bin."""
        return len(self._file)

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array."""
        table = self._tables[name]
        shape = [int(length) for length in table["shape"]]
        return np.ndarray(shape, table["dtype"], self._file, int(table.get("offset", 0)))

    def strings(self, name: str) -> list[str]:
        """Return a list of strings."""
        text, offsets = self.array(f"{name}.bytes").tobytes(), self.array(f"{name}.offsets").tolist()
        return [text[start:end].decode() for start, end in pairwise(offsets)]
