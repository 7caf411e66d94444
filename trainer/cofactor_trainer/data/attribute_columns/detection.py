"""Find the type of a column of a table of items from all its values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cofactor_trainer.data.attribute_columns.source import SourceColumn, list_separator
from cofactor_trainer.data.plausibility import MISSING_ANSWERS, MISSING_NUMBERS
from cofactor_trainer.data.times import BadTimeError, parse_times

# Not a type: leave the column out.
IGNORE = "ignore"
TRUE_WORDS, FALSE_WORDS = frozenset(("true", "yes", "y", "t")), frozenset(("false", "no", "n", "f"))
# Columns of these names have lists, even if no item has two values, and a comma separates them.
_LIST_NAMES = frozenset(
    ("tags", "keywords", "labels", "categories", "genres", "topics", "colors", "colours", "sizes", "materials")
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")
# A number does not begin with a zero, a code may.
_CODE = re.compile(r"[+-]?0\d+")
# Longer texts are descriptions, which would go into every response.
_MAX_LENGTH = 1_000
# With this many values for each different one, the parts between separators are tags and not sentences.
_LIST_REPEATS = 2
_NUMBERS_SHARE = 0.5


@dataclass(frozen=True)
class Detection:
    """Hold the type of a column, or "ignore", with a remark on why it is ignored or which values are odd."""

    kind: str
    remark: str = ""


def detect_type(column: SourceColumn) -> Detection:
    """Return the type of a column."""
    kind = column.values.type
    if column.is_list:
        return Detection("texts")
    written = [text for text in column.texts if text.lower() not in MISSING_ANSWERS]
    if not written:
        return Detection(IGNORE, "it has no values")
    if pa.types.is_boolean(kind):
        return Detection("boolean")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Detection("time")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Detection("number")
    return Detection("texts") if column.name.lower() in _LIST_NAMES else _detect_in_text(column, written)


def _detect_in_text(column: SourceColumn, written: Sequence[str]) -> Detection:
    given = [text for text in written if text.lower() not in MISSING_NUMBERS] or written
    if {text.lower() for text in given} <= TRUE_WORDS | FALSE_WORDS:
        return Detection("boolean")
    if all(map(_DATE.fullmatch, given)) and _are_times(given):
        return Detection("time")
    is_number = np.isfinite(column.numbers(given))
    if is_number.all() and not any(map(_CODE.fullmatch, given)):
        return Detection("number")
    if _repeat_parts(given):
        return Detection("texts")
    if max(map(len, written)) > _MAX_LENGTH:
        remedy = f"--item-attributes {column.name}=text uses it all the same"
        return Detection(IGNORE, f"a text has more than {_MAX_LENGTH:,} characters: {remedy}")
    if _NUMBERS_SHARE < is_number.mean() < 1:
        odd = given[int(np.argmin(is_number))][:64]
        return Detection("text", f"{column.name} counts as text, because {odd!r} is not a number")
    return Detection("text")


def _are_times(texts: Sequence[str]) -> bool:
    try:
        parse_times(pa.array(texts))
    except BadTimeError:
        return False
    return True


def _repeat_parts(texts: Sequence[str]) -> bool:
    """Return True if "|" or ";" separates values that repeat, as tags do and sentences do not."""
    separator = list_separator(texts, allows_comma=False)
    parts = [part.strip() for text in texts for part in text.split(separator)]
    return len(parts) > len(texts) and len(parts) >= _LIST_REPEATS * len(set(parts))
