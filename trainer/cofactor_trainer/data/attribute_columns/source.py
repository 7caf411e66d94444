"""Say where the columns of a table of items come from, and which types they have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.delimited_text import TextFormat, line_of_record
from cofactor_trainer.data.table_files import as_texts, is_text
from cofactor_trainer.errors import InputError


@dataclass(frozen=True)
class AttributeSource:
    """The file that attributes are read from.

    Attributes:
        path: the file.
        text_format: its format, if it is text.
        types: types of columns by name, "ignore" for none; the types of other columns are detected.
    """

    path: Path
    text_format: TextFormat
    types: Mapping[str, str] = field(default_factory=dict)

    def check_names(self, columns: Sequence[str], id_column: str) -> None:
        """Raise an `InputError` if a named column is missing or is that of the ids."""
        for name in self.types:
            if name not in columns or name == id_column:
                others = ", ".join(other for other in columns if other != id_column)
                raise InputError(f"--item-attributes names {name!r}, which is none of {others}", self.path)

    def error(self, message: str, record: int, column: str) -> InputError:
        """Return an error at a record of the file; only records of text have a line, others have a row number."""
        if not is_text(self.path):
            return InputError(f"row {record + 1}: {message}", self.path, column=column)
        return InputError(message, self.path, line=line_of_record(self.path, self.text_format, record), column=column)


@dataclass(frozen=True)
class SourceColumn:
    """A column of a table of items: its name, its values (n_rows,) and where it comes from."""

    name: str
    values: pa.Array
    source: AttributeSource

    @cached_property
    def texts(self) -> list[str]:
        """The values as texts without blanks around."""
        return [text.strip() for text in as_texts(self.values)]

    @property
    def is_list(self) -> bool:
        """True if the file itself stores lists."""
        return bool(pa.types.is_list(self.values.type) or pa.types.is_large_list(self.values.type))

    def numbers(self, texts: Sequence[str]) -> np.ndarray:
        """Return texts as numbers (n,), NaN for others; decimal commas count if the delimiter is another character."""
        if is_text(self.source.path) and self.source.text_format.delimiter != ",":
            texts = [re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", text) for text in texts]
        numbers: np.ndarray = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64)
        return numbers


def list_separator(texts: Sequence[str], *, allows_comma: bool) -> str:
    """Choose what separates the values of a list: "|", else ";", else a comma if it may."""
    for separator in ("|", ";", ","):
        if any(separator in text for text in texts):
            return separator if separator != "," or allows_comma else "|"
    return "|"
