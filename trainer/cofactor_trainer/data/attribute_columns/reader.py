"""Read the columns of a table of items as typed attributes; a type is that of the whole column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

import numpy as np
import pyarrow as pa

from cofactor_trainer.data.attribute_columns.detection import (
    FALSE_WORDS,
    IGNORE,
    TRUE_WORDS,
    Detection,
    detect_type,
)
from cofactor_trainer.data.attribute_columns.source import AttributeSource, SourceColumn, list_separator
from cofactor_trainer.data.item_attributes import (
    ATTRIBUTE_TYPES,
    NO_TIME,
    AttributeColumn,
    AttributeType,
    ItemAttributes,
)
from cofactor_trainer.data.plausibility import MISSING_ANSWERS, MISSING_NUMBERS
from cofactor_trainer.data.times import BadTimeError, parse_times, to_seconds

# Every model has these; a column of the same name would be ambiguous in filters.
_BUILT_IN_NAMES = frozenset(("item_id", "title", "genres", "release_year", "rating_count"))
_RESERVED_WORDS = frozenset(("and", "or", "not", "in", "true", "false"))
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800.0, 253_402_300_799.0


def read_attributes(columns: Mapping[str, pa.Array], source: AttributeSource) -> tuple[ItemAttributes, list[str]]:
    """Read columns (n_rows,) as attributes of the rows; return what to say about them, too.

    Raises:
        InputError: a value is not of the type that ``source`` names for its column.
    """
    found: list[AttributeColumn] = []
    remarks: list[str] = []
    for name, values in columns.items():
        column, attribute = SourceColumn(name, values, source), attribute_name(name)
        named = source.types.get(name)
        detected = detect_type(column) if named is None else Detection(named)
        if detected.kind != IGNORE and attribute in _BUILT_IN_NAMES:
            detected = Detection(IGNORE, "every model has an attribute of this name: rename the column")
        if detected.kind != IGNORE and any(attribute == other.name for other in found):
            detected = Detection(IGNORE, f"another column is called {attribute}, too: rename one")
        if detected.remark:
            is_ignored = detected.kind == IGNORE
            remarks.append(f"{name} is not used, because {detected.remark}" if is_ignored else detected.remark)
        found += [_read(column, attribute, kind) for kind in ATTRIBUTE_TYPES if kind == detected.kind]
    listed = ", ".join(f"{column.name} ({column.type})" for column in found)
    return ItemAttributes(tuple(found)), [*([f"attributes: {listed}"] if found else []), *remarks]


def attribute_name(column: str) -> str:
    """Return the name of the attribute in a column: other characters than letters, digits and "_" become "_"."""
    name = re.sub(r"\W+", "_", column).strip("_") or "_"
    name = f"_{name}" if name[0].isdecimal() else name
    return f"{name}_" if name.lower() in _RESERVED_WORDS else name


def _read(column: SourceColumn, attribute: str, kind: AttributeType) -> AttributeColumn:
    """Read a column as an attribute; raise an `InputError` at the first value of another type."""
    if kind == "number":
        return AttributeColumn(attribute, kind, _numbers(column))
    if kind == "time":
        return AttributeColumn(attribute, kind, _times(column))
    if kind == "boolean":
        return AttributeColumn.of_values(attribute, kind, _booleans(column))
    if kind == "texts":
        return AttributeColumn.of_values(attribute, kind, _lists(column))
    texts = [None if text.lower() in MISSING_ANSWERS else text for text in column.texts]
    return AttributeColumn.of_values(attribute, kind, texts)


def _lists(column: SourceColumn) -> list[tuple[str, ...]]:
    if column.is_list:
        rows = column.values.to_pylist()
        return [_clean(str(part) for part in row or () if part is not None) for row in rows]
    separator = list_separator(column.texts, allows_comma=True)
    return [_clean(text.split(separator)) for text in column.texts]


def _clean(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(part for part in (part.strip() for part in parts) if part.lower() not in MISSING_ANSWERS)


def _booleans(column: SourceColumn) -> list[bool | None]:
    words: dict[str, bool | None] = dict.fromkeys(MISSING_NUMBERS)
    words |= dict.fromkeys((*TRUE_WORDS, "1"), True) | dict.fromkeys((*FALSE_WORDS, "0"), False)
    for record, text in enumerate(column.texts):
        if text.lower() not in words:
            _fail(column, record, "neither true nor false")
    return [words[text.lower()] for text in column.texts]


def _numbers(column: SourceColumn) -> np.ndarray:
    is_given = _is_given(column)
    numbers = np.where(is_given, column.numbers(column.texts), np.nan)
    is_bad = is_given & ~np.isfinite(numbers)
    if is_bad.any():
        _fail(column, int(np.argmax(is_bad)), "not a number")
    return numbers


def _times(column: SourceColumn) -> np.ndarray:
    given = np.flatnonzero(_is_given(column))
    times = np.full(len(column.texts), NO_TIME, np.int64)
    if not len(given):
        return times
    is_plain = pa.types.is_string(column.values.type)
    values = pa.array([column.texts[row] for row in given]) if is_plain else column.values.take(pa.array(given))
    try:
        seconds, is_date = parse_times(values)
    except BadTimeError as error:
        raise column.source.error(str(error), int(given[error.record]), column.name) from None
    seconds = seconds if is_date else to_seconds(seconds.copy())
    is_outside = (seconds < _FIRST_SECOND) | (seconds > _LAST_SECOND)
    if is_outside.any():
        _fail(column, int(given[int(np.argmax(is_outside))]), "not a time of the years 1 to 9999")
    times[given] = np.rint(seconds * 1e6).astype(np.int64)
    return times


def _is_given(column: SourceColumn) -> np.ndarray:
    return np.array([text.lower() not in MISSING_NUMBERS for text in column.texts])


def _fail(column: SourceColumn, record: int, problem: str) -> NoReturn:
    remedy = f"correct it, or read the column as text with --item-attributes {column.name}=text"
    raise column.source.error(f"{column.texts[record][:64]!r} is {problem}: {remedy}", record, column.name)
