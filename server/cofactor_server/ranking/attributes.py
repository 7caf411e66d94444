"""The attributes of the items of a version: those of every model, and further ones of the training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cofactor.v1.manifest_pb2 import ItemAttributeColumn
from cofactor_server.arrays import AnyArray, typed_table
from cofactor_server.ranking.attribute_columns.column import AttributeType, Column, Value
from cofactor_server.ranking.attribute_columns.numbers import BooleanColumn, NumberColumn, TimeColumn
from cofactor_server.ranking.attribute_columns.texts import CodedTextColumn, OwnTextColumn, TextsColumn
from cofactor_server.repository.string_table import StringTable
from cofactor_server.repository.version_directory import VersionDirectory

_N_EXAMPLES = 5
_LONGEST_EXAMPLE = 64


@dataclass(frozen=True)
class AttributeSummary:
    """Summarize an attribute for GetModel.

    Attributes:
        name: its name.
        type: the type of its values.
        is_built_in: True if every model has it.
        n_known: number of items whose value is known.
        n_distinct: number of different texts; 0 for other types, and if every item has its own.
        bounds: lowest and highest value of a number or a time; None for other types, and if no value is known.
        examples: frequent texts.
    """

    name: str
    type: AttributeType
    is_built_in: bool
    n_known: int
    n_distinct: int = 0
    bounds: tuple[Value, Value] | None = None
    examples: tuple[str, ...] = ()


class ItemAttributes:
    """The attributes of the items of a version.

    Attributes:
        further: the columns that Item.attributes has, by name.
        schema: the type of every attribute, the built-in ones first.
    """

    def __init__(self, directory: VersionDirectory) -> None:
        """Take the tables of a version. Raises ValueError if they contradict each other."""
        self._built_in: dict[str, Column] = _built_in_columns(directory)
        self.further: dict[str, Column] = {
            entry.name: _read_column(directory, entry) for entry in directory.manifest.item_attributes
        }
        self._columns = self._built_in | self.further
        self.schema: Mapping[str, AttributeType] = {name: column.type for name, column in self._columns.items()}

    def column(self, name: str) -> Column:
        """Return an attribute by its name, which must be in the schema."""
        return self._columns[name]

    def values(self, row: int) -> dict[str, Value]:
        """Return the further attributes of an item that are known."""
        values = ((name, column.value(row)) for name, column in self.further.items())
        return {name: value for name, value in values if value is not None}

    def summaries(self) -> list[AttributeSummary]:
        """Summarize every attribute."""
        return [_summarize(name, column, name in self._built_in) for name, column in self._columns.items()]


def _built_in_columns(directory: VersionDirectory) -> dict[str, Column]:
    tables, item_ids = directory.tables, directory.strings("item_ids")
    genre_codes = typed_table(tables, "item_genres.indices", np.int32)
    genre_offsets = typed_table(tables, "item_genres.offsets", np.int64)
    return {
        # Rows are in the order of the ids (docs/model-format.md).
        "item_id": CodedTextColumn(item_ids, np.arange(len(item_ids), dtype=np.int32)),
        "title": OwnTextColumn(directory.strings("item_titles")),
        "genres": TextsColumn(directory.strings("genre_names"), genre_codes, genre_offsets),
        "release_year": NumberColumn(typed_table(tables, "item_release_years", np.int32), 0),
        "rating_count": NumberColumn(typed_table(tables, "item_rating_counts", np.int64), None),
    }


def _read_column(directory: VersionDirectory, entry: ItemAttributeColumn) -> Column:
    tables, prefix = directory.tables, f"item_attributes.{entry.name}"
    if entry.type == "number":
        return NumberColumn(typed_table(tables, f"{prefix}.values", np.float64), np.nan)
    if entry.type == "time":
        return TimeColumn(typed_table(tables, f"{prefix}.values", np.int64))
    if entry.type == "boolean":
        return BooleanColumn(typed_table(tables, f"{prefix}.values", np.int8))
    texts = directory.strings(f"{prefix}.texts")
    if not all(one < other for one, other in pairwise(texts.strings())):
        raise ValueError(f"table {prefix}.texts is not ascending")
    codes = tables[f"{prefix}.values"]
    if entry.type == "text":
        return CodedTextColumn(texts, codes)  # type: ignore[arg-type] # opening the directory has checked it
    return TextsColumn(texts, codes, typed_table(tables, f"{prefix}.offsets", np.int64))  # type: ignore[arg-type]


def _summarize(name: str, column: Column, is_built_in: bool) -> AttributeSummary:
    n_known = int(np.count_nonzero(column.is_known()))
    if isinstance(column, NumberColumn):
        return AttributeSummary(name, column.type, is_built_in, n_known, bounds=column.range())
    if isinstance(column, CodedTextColumn | TextsColumn) and name != "item_id":
        examples = _frequent(column.texts, column.codes)
        return AttributeSummary(name, column.type, is_built_in, n_known, len(column.texts), examples=examples)
    return AttributeSummary(name, column.type, is_built_in, n_known)


def _frequent(texts: StringTable, codes: AnyArray) -> tuple[str, ...]:
    """Return the most frequent texts that are short, equally frequent ones in ascending order."""
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))  # type: ignore[operator]
    lengths = texts.byte_lengths(slice(0, len(texts)))
    best = np.lexsort((np.arange(len(texts)), -counts, lengths > _LONGEST_EXAMPLE))[:_N_EXAMPLES]
    return tuple(texts[code] for code in best.tolist() if lengths[code] <= _LONGEST_EXAMPLE)
